"""The life of a session: pending, active, completed or error; and nothing else."""

import asyncio
import uuid
from datetime import datetime
from itertools import product
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient

from tests.systems.conftest import Catalogue
from tests.systems.live_agent.asking import Join, open_session
from tests.systems.schema import refuses

STATUSES = ("pending", "active", "completed", "error")
STEPS = {("pending", "active"), ("active", "completed"), ("active", "error")}
INSERT = """
INSERT INTO sessions (organization_id, room_name, status)
SELECT id, $1, $2 FROM organizations RETURNING id
"""


@pytest.mark.parametrize("end", ["completed", "error"])
async def test_A18_a_session_is_opened_started_and_ended(ann: AsyncClient, end: str) -> None:
    """`started_at` and `ended_at` are set by its steps."""
    opened = await ann.post("/sessions", json={"room_name": "room"})
    assert opened.status_code == 201
    session = opened.json()
    assert (session["status"], session["started_at"], session["ended_at"]) == (
        "pending",
        None,
        None,
    )

    started = (await ann.post(f"/sessions/{session['id']}/start")).json()
    assert (started["status"], started["ended_at"]) == ("active", None)
    assert moment(started["started_at"]) > moment(session["created_at"])

    body = None if end == "completed" else {"status": "error"}
    ended = (await ann.post(f"/sessions/{session['id']}/end", json=body)).json()
    assert ended["status"] == end
    assert ended["started_at"] == started["started_at"]
    assert moment(ended["ended_at"]) > moment(ended["started_at"])
    assert (await ann.get(f"/sessions/{session['id']}")).json() == ended
    assert (await ann.get("/sessions")).json()["items"] == [ended]


async def test_A18_illegal_steps_are_refused_and_change_nothing(ann: AsyncClient) -> None:
    """A session lives once."""
    session = f"/sessions/{await open_session(ann, 'room')}"

    async def refused(step: str) -> None:
        before = (await ann.get(session)).json()
        answer = await ann.post(f"{session}/{step}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), answer.text
        assert (await ann.get(session)).json() == before

    await refused("end")
    assert (await ann.post(f"{session}/start")).status_code == 200
    await refused("start")
    answer = await ann.post(f"{session}/end", json={"status": "pending"})
    assert answer.status_code == 422
    assert (await ann.post(f"{session}/end")).status_code == 200
    await refused("start")
    await refused("end")


@pytest.mark.parametrize(("before", "after"), [*product(STATUSES, STATUSES)])
async def test_A18_the_database_itself_refuses_an_illegal_step(
    ann: AsyncClient, catalogue: Catalogue, before: str, after: str
) -> None:
    """Whoever updates: psql and scripts do, too."""
    ((session_id,),) = await catalogue(INSERT, "room", before)
    update = "UPDATE sessions SET status = $1 WHERE id = $2 RETURNING *"
    if before == after or (before, after) in STEPS:
        (row,) = await catalogue(update, after, session_id)
        assert row["status"] == after
        assert (row["started_at"] is None) == (after == "pending")
        assert (row["ended_at"] is None) == (after in ("pending", "active"))
    else:
        with pytest.raises(asyncpg.CheckViolationError, match="cannot become"):
            await catalogue(update, after, session_id)


async def test_A18_moments_that_do_not_fit_the_status_are_refused(
    ann: AsyncClient, catalogue: Catalogue
) -> None:
    """A pending session has not started, an active one has not ended, none ends before it began."""
    for status, column in (("pending", "started_at"), ("active", "ended_at")):
        await catalogue(INSERT, status, status)
        update = f"UPDATE sessions SET {column} = now() WHERE room_name = $1"
        await refuses(catalogue, f"ck_sessions_{column}", update, status)
    await catalogue(INSERT, "done", "completed")
    earlier = "UPDATE sessions SET ended_at = started_at - interval '1 s' WHERE room_name = 'done'"
    await refuses(catalogue, "ck_sessions_ended_at", earlier)


async def test_A18_of_two_who_start_at_once_one_does(
    ann: AsyncClient, join_acme: Join, catalogue: Catalogue
) -> None:
    """And it starts once: the second sees the first one's step."""
    member = await join_acme("member")
    for number in range(5):
        session_id = await open_session(ann, f"room {number}")
        for step in ("start", "end"):
            answers = await asyncio.gather(
                *(each.post(f"/sessions/{session_id}/{step}") for each in (ann, member, ann))
            )
            assert sorted(each.status_code for each in answers) == [200, 409, 409]
        ((status,),) = await catalogue("SELECT status FROM sessions WHERE id = $1", session_id)
        assert status == "completed"


async def test_A18_unknown_sessions_are_not_found(ann: AsyncClient) -> None:
    """As those of others are."""
    path = f"/sessions/{uuid.uuid4()}"
    for method, end in (("GET", ""), ("POST", "/start"), ("POST", "/end")):
        assert (await ann.request(method, path + end)).status_code == 404


async def test_sessions_and_members_are_listed_page_by_page(
    ann: AsyncClient, join_acme: Join
) -> None:
    """Newest first; a cursor is where the next page begins."""
    names = [f"room {number}" for number in range(5)]
    for name in names:
        await open_session(ann, name)
    assert [each["room_name"] for each in await pages(ann, "/sessions", 2)] == names[::-1]
    await join_acme("viewer")
    assert [each["role"] for each in await pages(ann, "/members", 1)] == ["viewer", "admin"]
    assert (await ann.get("/sessions", params={"cursor": "x"})).status_code == 400


@pytest.mark.parametrize("name", ["", "   ", "x" * 256, "a\0b", "two\nlines", None])
async def test_a_room_has_a_name_of_one_line(ann: AsyncClient, name: str | None) -> None:
    """What PostgreSQL could not store, or nobody could read, is the caller's mistake."""
    assert (await ann.post("/sessions", json={"room_name": name})).status_code == 422


async def pages(client: AsyncClient, path: str, limit: int) -> list[dict[str, Any]]:
    """All items, by as many requests as there are pages."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await client.get(path, params={"limit": limit, **cursor})).json()
        assert len(answer["items"]) <= limit
        found += answer["items"]
        if answer["next"] is None:
            return found
        cursor = {"cursor": answer["next"]}


def moment(text: str) -> datetime:
    """A point in time, as answered."""
    found = datetime.fromisoformat(text)
    assert found.tzinfo is not None
    return found
