"""A request that is sent again is answered as the first time, and acts once."""

import asyncio
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, File, Form, HTTPException, Response, UploadFile
from sqlalchemy import text
from starlette.requests import HTTPConnection

from bedplate.delivery import inbox
from bedplate.fastapi import DepUnitOfWork, Identity, Router, create_app
from bedplate.layer import DataLayer

from .conftest import Notes

INSERT = text("INSERT INTO door_notes (note) VALUES (:note)")
REPLAYED = "idempotent-replayed"


class Gate:
    """Holds a request in its middle."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()


async def who(connection: HTTPConnection) -> Identity:
    """A header stands in for a login."""
    return Identity(actor=connection.headers.get("x-user"))


def application(layer: DataLayer, gate: Gate | None = None) -> FastAPI:
    """Routes that write, one of each kind."""
    router = Router()

    @router.post("/notes", status_code=201)
    async def create(note: str, uow: DepUnitOfWork, response: Response) -> dict[str, str]:
        await uow.execute(INSERT, {"note": note})
        response.headers["Location"] = f"/notes/{note}"
        return {"note": note}

    @router.post("/held", status_code=201)
    async def hold(note: str, uow: DepUnitOfWork) -> None:
        await uow.execute(INSERT, {"note": note})
        assert gate is not None
        gate.begun.set()
        await gate.over.wait()

    @router.post("/refused")
    async def refuse(uow: DepUnitOfWork) -> None:
        count = await uow.execute(text("SELECT count(*) FROM door_notes"))
        raise HTTPException(409, f"{count.scalar_one()} there")

    @router.post("/uploads", status_code=201)
    async def upload(
        file: Annotated[UploadFile, File()], name: Annotated[str, Form()], uow: DepUnitOfWork
    ) -> str:
        content = (await file.read()).decode()
        await uow.execute(INSERT, {"note": f"{name} {content}"})
        return content

    @router.post("/cookies")
    async def give(uow: DepUnitOfWork, response: Response) -> None:
        response.set_cookie("session", "secret")
        await uow.execute(INSERT, {"note": str(await notes_count(uow))})

    @router.delete("/notes/{note}", status_code=204)
    async def delete(note: str, uow: DepUnitOfWork) -> None:
        await uow.execute(INSERT, {"note": f"deleted {note}"})

    app = create_app(layer, identify=who)
    app.include_router(router)
    return app


async def notes_count(uow: DepUnitOfWork) -> int:
    """How many there are."""
    return int((await uow.scalars(text("SELECT count(*) FROM door_notes"))).one())


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that sees errors as answers."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_repeat_gets_the_first_answer_and_acts_once(layer: DataLayer, notes: Notes) -> None:
    """Status, body and location are the first ones'; a header says that they are."""
    async with client_of(application(layer)) as client:
        headers = {"Idempotency-Key": "k1"}
        first = await client.post("/notes?note=a", headers=headers)
        again = await client.post("/notes?note=a", headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json() == {"note": "a"}
    assert first.headers["location"] == again.headers["location"] == "/notes/a"
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert await notes.committed() == ["a"]


async def test_without_the_header_each_request_acts(layer: DataLayer, notes: Notes) -> None:
    """The unique note fails at the second COMMIT: it was tried."""
    async with client_of(application(layer)) as client:
        first = await client.post("/notes?note=a")
        again = await client.post("/notes?note=a")
    assert (first.status_code, again.status_code) == (201, 500)


async def test_another_request_with_the_same_key_is_refused(layer: DataLayer, notes: Notes) -> None:
    """It is a client's mistake, and answering with the first result would hide it."""
    async with client_of(application(layer)) as client:
        headers = {"Idempotency-Key": "k1"}
        await client.post("/notes?note=a", headers=headers)
        other = await client.post("/notes?note=b", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await notes.committed() == ["a"]


async def test_a_repeat_while_the_first_is_worked_on_is_told_to_wait(
    layer: DataLayer, notes: Notes
) -> None:
    """Neither acts twice nor holds a connection until the first is done."""
    gate = Gate()
    async with client_of(application(layer, gate)) as client:
        headers = {"Idempotency-Key": "k1"}
        first = asyncio.create_task(client.post("/held?note=a", headers=headers))
        async with asyncio.timeout(5):
            await gate.begun.wait()
        busy = await client.post("/held?note=a", headers=headers)
        gate.over.set()
        assert (await first).status_code == 201
        after = await client.post("/held?note=a", headers=headers)
    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_key_in_use")
    assert "retry-after" in busy.headers
    assert (after.status_code, after.headers[REPLAYED]) == (201, "true")
    assert await notes.committed() == ["a"]


async def test_a_refusal_is_not_kept(layer: DataLayer, notes: Notes) -> None:
    """The same request may succeed later."""
    async with client_of(application(layer)) as client:
        headers = {"Idempotency-Key": "k1"}
        first = await client.post("/refused", headers=headers)
        await client.post("/notes?note=a")
        again = await client.post("/refused", headers=headers)
    assert [first.json()["detail"], again.json()["detail"]] == ["0 there", "1 there"]


async def test_keys_belong_to_a_user_and_a_route(layer: DataLayer, notes: Notes) -> None:
    """A key that somebody else guessed shows nothing."""
    async with client_of(application(layer)) as client:
        for user in ("ann", "bob"):
            headers = {"Idempotency-Key": "k1", "X-User": user}
            answer = await client.post(f"/notes?note={user}", headers=headers)
            assert (answer.status_code, REPLAYED in answer.headers) == (201, False)
        headers = {"Idempotency-Key": "k1", "X-User": "ann"}
        other = await client.delete("/notes/ann", headers=headers)
        again = await client.delete("/notes/ann", headers=headers)
    assert (other.status_code, REPLAYED in other.headers) == (204, False)
    assert (again.status_code, again.headers[REPLAYED]) == (204, "true")
    assert await notes.committed() == ["ann", "bob", "deleted ann"]


async def test_an_upload_is_known_by_its_content(layer: DataLayer, notes: Notes) -> None:
    """A client draws a new boundary for each try, so the bytes as sent say nothing."""

    async def send(client: httpx.AsyncClient, content: bytes) -> httpx.Response:
        return await client.post(
            "/uploads",
            headers={"Idempotency-Key": "k1"},
            data={"name": "n"},
            files={"file": ("a.txt", content)},
        )

    async with client_of(application(layer)) as client:
        first = await send(client, b"text")
        again = await send(client, b"text")
        other = await send(client, b"texT")
    assert (first.json(), again.json(), other.status_code) == ("text", "text", 422)
    assert again.headers[REPLAYED] == "true"
    assert await notes.committed() == ["n text"]


async def test_an_answer_to_nobody_that_sets_a_cookie_is_not_kept(
    layer: DataLayer, notes: Notes
) -> None:
    """Whoever guesses the key would be given somebody's session."""
    async with client_of(application(layer)) as client:
        for user in ({}, {}, {"X-User": "ann"}, {"X-User": "ann"}):
            answer = await client.post("/cookies", headers={"Idempotency-Key": "k1", **user})
            client.cookies.clear()
    assert answer.headers[REPLAYED] == "true"
    assert "set-cookie" not in answer.headers
    assert await notes.committed() == ["0", "1", "2"]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_a_bounded_length(layer: DataLayer, notes: Notes, key: str) -> None:
    """It is stored."""
    async with client_of(application(layer)) as client:
        answer = await client.post("/notes?note=a", headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")
    assert await notes.committed() == []


async def test_a_sweep_forgets_what_has_expired(layer: DataLayer, notes: Notes) -> None:
    """A day later the key is free; until then it is not."""
    headers = {"Idempotency-Key": "k1"}
    async with client_of(application(layer)) as client:
        await client.post("/notes?note=a", headers=headers)
        async with layer.owner_database.engine.begin() as owner:
            assert await inbox.sweep(owner) == 0
            await owner.execute(text("UPDATE bedplate.inbox SET expires_at = now()"))
        async with layer.owner_database.engine.begin() as owner:
            assert await inbox.sweep(owner) == 1


async def test_a_message_from_elsewhere_acts_once(layer: DataLayer) -> None:
    """A webhook is delivered again and again; the second finds the first's note."""
    async with layer.transaction() as uow:
        assert await uow.first_time("payments", "evt_1")
        assert not await uow.first_time("payments", "evt_1")
        assert await uow.first_time("mail", "evt_1")
        uow.mark_rollback("it failed")
    for expected in (True, False):
        async with layer.transaction() as uow:
            assert await uow.first_time("payments", "evt_1") is expected
    async with layer.transaction(tenant="other") as uow:
        assert await uow.first_time("payments", "evt_1")
