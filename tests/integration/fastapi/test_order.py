"""The client is answered after the COMMIT, and a COMMIT that fails is no success."""

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel, SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from bedplate.fastapi import (
    DepLayer,
    DepRedis,
    DepSession,
    DepUnitOfWork,
    Router,
    create_app,
    get_db,
)
from bedplate.layer import DataLayer

from .conftest import Notes

INSERT = text("INSERT INTO door_notes (note) VALUES (:note)")


class Document(BaseModel):
    title: str


async def test_row_is_committed_when_the_answer_begins(layer: DataLayer, notes: Notes) -> None:
    """Seen in the server: another connection reads the row before the first byte is sent."""
    router, seen = Router(), []

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> str:
        await uow.execute(INSERT, {"note": "kept"})
        seen.append(("route", await notes.committed()))
        return "done"

    app = application(layer, router)

    async def looking(scope: Scope, receive: Receive, send: Send) -> None:
        async def look(message: Message) -> None:
            seen.append((message["type"], await notes.committed()))
            await send(message)

        await app(scope, receive, look)

    assert (await post(looking)).status_code == 200
    assert seen[:2] == [("route", []), ("http.response.start", ["kept"])]


async def test_session_of_get_db_is_committed_too(layer: DataLayer, notes: Notes) -> None:
    """L8: routes written for a plain session, as everyone writes them, get the same promise."""
    router, seen = Router(), []

    @router.post("/")
    async def route(session: Annotated[AsyncSession, Depends(get_db)], same: DepSession) -> None:
        seen.append(session is same)
        await session.execute(INSERT, {"note": "kept"})

    app = application(layer, router)

    async def looking(scope: Scope, receive: Receive, send: Send) -> None:
        async def look(message: Message) -> None:
            seen.append(await notes.committed() == ["kept"])
            await send(message)

        await app(scope, receive, look)

    assert (await post(looking)).status_code == 200
    assert seen[:2] == [True, True]


async def test_commit_that_violates_a_constraint_is_500(layer: DataLayer, notes: Notes) -> None:
    """The route was content; the database was not; the client is told."""
    router = Router()

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> str:
        await uow.execute(INSERT, [{"note": "twice"}, {"note": "twice"}])
        return "done"

    response = await post(application(layer, router))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "door_notes" not in response.text
    assert "twice" not in response.text
    assert await notes.committed() == []
    assert await at_rest(layer, notes)


async def test_commit_that_cannot_be_serialized_is_503(layer: DataLayer, notes: Notes) -> None:
    """Two transactions each read what the other writes; the loser may try again."""
    router = Router()

    @router.post("/")
    async def route(uow: DepUnitOfWork, layer: DepLayer) -> str:
        async def second() -> None:
            async with layer.transaction() as other:
                await _count_and_insert(other.session, "second")

        await _count_and_insert(uow.session, "first")
        await asyncio.create_task(second())
        return "done"

    response = await post(application(layer, router))
    assert response.status_code == 503
    assert response.json()["code"] == "serialization_failed"
    assert "retry-after" in response.headers
    assert await notes.committed() == ["second"]
    assert await at_rest(layer, notes)


@pytest.mark.bad_day(
    "PostgreSQL goes away in a request",
    sees="503 `database_unreachable`, nothing committed",
)
async def test_commit_on_a_lost_connection_is_503(layer: DataLayer, notes: Notes) -> None:
    """The server ends the connection between the last statement and COMMIT."""
    router = Router()

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> str:
        await uow.execute(INSERT, {"note": "lost"})
        pid = (await uow.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with layer.owner_database.engine.connect() as owner:
            ended = await owner.execute(
                text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}
            )
            assert ended.scalar_one()
        return "done"

    response = await post(application(layer, router))
    assert response.status_code == 503
    assert response.json()["code"] == "database_unreachable"
    assert "retry-after" in response.headers
    assert await notes.committed() == []


async def test_raised_409_leaves_nothing(layer: DataLayer, notes: Notes) -> None:
    """A template that commits in `finally` keeps the row of an answered error."""
    router = Router()

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> str:
        await uow.execute(INSERT, {"note": "half"})
        raise HTTPException(409)

    assert (await post(application(layer, router))).status_code == 409
    assert await notes.committed() == []
    assert await at_rest(layer, notes)


async def test_returned_409_leaves_nothing(layer: DataLayer, notes: Notes) -> None:
    """To FastAPI a returned 409 is a success like any other."""
    router = Router()

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> Response:
        await uow.execute(INSERT, {"note": "half"})
        return Response(status_code=409)

    assert (await post(application(layer, router))).status_code == 409
    assert await notes.committed() == []
    assert await at_rest(layer, notes)


async def test_answer_that_does_not_fit_leaves_nothing(layer: DataLayer, notes: Notes) -> None:
    """FastAPI validates the answer before the dependency ends: the 500 is true."""
    router = Router()

    @router.post("/", response_model=Document)
    async def route(uow: DepUnitOfWork) -> dict[str, str]:
        await uow.execute(INSERT, {"note": "half"})
        return {"name": "no title"}

    assert (await post(application(layer, router))).status_code == 500
    assert await notes.committed() == []
    assert await at_rest(layer, notes)


async def test_cancelled_requests_leave_nothing(layer: DataLayer, notes: Notes) -> None:
    """L8: in mid-query or between two, a cancelled request returns its connection, rolled back."""
    router = Router()
    inserted = asyncio.Event()

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> None:
        await uow.execute(INSERT, {"note": "cancelled"})
        inserted.set()
        await uow.execute(text("SELECT pg_sleep(60)"))

    request = asyncio.create_task(post(application(layer, router)))
    await inserted.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert request.cancelled()
    assert await notes.committed() == []
    assert await at_rest(layer, notes)


@pytest.mark.fault(28, holds="I11 I14", every_run=True)
async def test_fault_28_exhausted_pool_is_503(layer: DataLayer) -> None:
    """More requests than connections: the rest are told to come back, not left to hang."""
    small = layer.settings.model_copy(
        update={"pool_size": 1, "max_overflow": 0, "pool_timeout": layer.settings.pool_timeout / 20}
    )
    router = Router()

    @router.post("/")
    async def route(uow: DepUnitOfWork) -> None:
        await uow.execute(text("SELECT 1"))

    async with DataLayer(small, name=layer.name) as one, one.transaction() as holding:
        await holding.execute(text("SELECT 1"))
        response = await post(application(one, router))
    assert response.status_code == 503
    assert response.json()["code"] == "pool_exhausted"
    assert "retry-after" in response.headers


@pytest.mark.bad_day("Redis is down where a route needs it", sees="503 `redis_unreachable`")
async def test_redis_that_is_down_is_503(layer: DataLayer) -> None:
    """What needs Redis says so; nothing else does."""
    settings = layer.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    app = create_app(DataLayer(settings, name=layer.name))

    @app.post("/")
    async def route(redis: DepRedis) -> None:
        await redis.set("key", "value")

    response = await post(app)
    await app.state.layer.close()
    assert response.status_code == 503
    assert response.json()["code"] == "redis_unreachable"


def application(layer: DataLayer, router: APIRouter) -> FastAPI:
    app = create_app(layer)
    app.include_router(router)
    return app


async def post(app: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.post("/")


async def at_rest(layer: DataLayer, notes: Notes) -> bool:
    """No connection is out, and none that is in holds a transaction."""
    pool: Any = layer.database.engine.pool
    return pool.checkedout() == 0 and await notes.idle_in_transaction() == 0


async def _count_and_insert(session: Any, note: str) -> None:
    await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
    await session.execute(text("SELECT count(*) FROM door_notes"))
    await session.execute(INSERT, {"note": note})
