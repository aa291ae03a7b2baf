"""The live room: several API processes, one conversation, and whoever must go."""

import asyncio
import contextlib
from uuid import UUID

import pytest

from bedplate.cache.presence import Place, Presence, Present
from bedplate.layer import DataLayer
from systems.live_agent.live import room as room_module
from systems.live_agent.live.history import channel_of
from tests.integration.cache.valkey import until
from tests.systems.conftest import Catalogue
from tests.systems.live_agent.browsers import Browser, Live, People, seated

SELECT_KINDS = """
SELECT kind FROM session_events WHERE session_id = $1::uuid ORDER BY position
"""


async def test_A19_join_message_presence_and_leave(
    people: People, admin: Browser, second: str, catalogue: Catalogue
) -> None:
    """Two servers, one room: each hears all of it, in one order, and it is kept."""
    member, _ = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann:
        assert (await ann.until("join"))["member"]["name"] == "Acme"
        async with member.at(second).live(session_id) as ben:
            welcome = await ben.hear()
            assert welcome["type"] == "welcome"
            assert welcome["you"]["name"] == "Ben"
            assert {each["name"] for each in welcome["present"]} == {"Acme", "Ben"}
            assert [each["type"] for each in welcome["events"]] == ["start", "join"]
            assert (await ann.until("join"))["member"]["name"] == "Ben"
            for index in range(5):
                await (ann if index % 2 else ben).say(f"text {index}")
                heard = [await each.until("message") for each in (ann, ben)]
                assert heard[0] == heard[1]
                assert heard[0]["text"] == f"text {index}"
            await ben.send(type="presence")
            present = (await ben.until("presence"))["present"]
            assert {each["name"] for each in present} == {"Acme", "Ben"}
            await ben.send(type="leave")
            assert await ben.until_closed() == 1000
        assert (await ann.until("leave"))["member"]["name"] == "Ben"
        await ann.send(type="presence")
        assert [each["name"] for each in (await ann.until("presence"))["present"]] == ["Acme"]
    await until(lambda: _kinds(catalogue, session_id, 10), "the admin's leave is kept")
    kept = [row["kind"] for row in await catalogue(SELECT_KINDS, session_id)]
    assert kept == ["start", "join", "join", *["message"] * 5, "leave", "leave"]
    shown = (await admin.client.get(f"/sessions/{session_id}/events", params={"after": 3})).json()
    assert [each.get("text") for each in shown[:5]] == [f"text {index}" for index in range(5)]


async def _kinds(catalogue: Catalogue, session_id: str, count: int) -> bool:
    return len(await catalogue(SELECT_KINDS, session_id)) == count


async def test_A19_a_newcomer_is_shown_the_last_events_also_without_redis_having_them(
    people: People, admin: Browser, layer: DataLayer
) -> None:
    """Redis has a copy; where it has lost it, PostgreSQL shows the same."""
    session_id = await people.room(admin)
    async with seated(admin, session_id) as live:
        for index in range(60):
            await live.say(f"text {index}")
            await live.until("message")
        async with admin.live(session_id) as again:
            shown = (await again.hear())["events"]
        async for key in layer.redis.client().scan_iter("live_agent:channel:*"):
            await layer.redis.client().delete(key)
        async with admin.live(session_id) as again:
            assert (await again.hear())["events"] == shown
    assert [each["text"] for each in shown] == [f"text {index}" for index in range(10, 60)]


async def test_A18_two_joining_at_once_are_both_in_and_each_is_told_of_once(
    people: People, admin: Browser, second: str, catalogue: Catalogue
) -> None:
    """From two servers, ten tabs each: nobody is missing, and no join is told twice."""
    members = [(await people.join(admin, name))[0] for name in ("Ben", "Cleo")]
    session_id = await people.room(admin)
    async with contextlib.AsyncExitStack() as opened:

        async def enter(index: int) -> Live:
            browser = members[index % 2]
            if index % 4 < 2:
                browser = browser.at(second)
            return await opened.enter_async_context(browser.live(session_id))

        seats = await asyncio.gather(*(enter(index) for index in range(20)))
        for seat in seats:
            assert (await seat.hear())["type"] == "welcome"
        await seats[0].send(type="presence")
        present = (await seats[0].until("presence"))["present"]
        assert {each["name"] for each in present} == {"Ben", "Cleo"}
        await until(lambda: _kinds(catalogue, session_id, 3), "both joins are kept")
        await seats[0].say("to all")
        for seat in seats:
            assert (await seat.until("message"))["text"] == "to all"
        kept = [row["kind"] for row in await catalogue(SELECT_KINDS, session_id)]
        assert kept == ["start", "join", "join", "message"]


@pytest.mark.parametrize("how", ["deactivated", "another role", "logout"])
async def test_A19_who_is_locked_out_in_mid_session_is_out_at_once(
    people: People, admin: Browser, second: str, how: str
) -> None:
    """On every server; the others stay, are told, and whoever was out cannot come back."""
    member, member_id = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with (
        seated(admin, session_id) as ann,
        seated(member, session_id) as here,
        seated(member.at(second), session_id) as there,
    ):
        if how == "logout":
            assert (await member.client.post("/auth/logout")).status_code == 204
        else:
            change = {"is_active": False} if how == "deactivated" else {"role": "viewer"}
            answer = await admin.client.patch(f"/members/{member_id}", json=change)
            assert answer.status_code == 200, answer.text
        assert await here.until_closed() == 4401
        assert await there.until_closed() == 4401
        assert (await ann.until("leave"))["member"]["name"] == "Ben"
        await ann.say("among us")
        await ann.until("message")
        assert await member.refused(session_id) == (401, "not_signed_in")


async def test_A19_a_lockout_that_nobody_said_is_found(
    people: People,
    admin: Browser,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hand in the database, or while Redis was away: the room looks."""
    monkeypatch.setattr(room_module, "BEAT", room_module.BEAT / 100)
    member, member_id = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann, seated(member, session_id) as ben:
        await catalogue("UPDATE users SET is_active = false WHERE id = $1::uuid", member_id)
        assert await ben.until_closed() == 4403
        await catalogue("UPDATE sessions SET status = 'error' WHERE id = $1::uuid", session_id)
        assert await ann.until_closed() == 4410


async def test_A19_members_of_a_process_that_died_are_told_as_gone(
    people: People, admin: Browser, layer: DataLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody said that they leave; their time runs out, and one server says so, once."""
    monkeypatch.setattr(room_module, "BEAT", room_module.BEAT / 100)
    _, member_id = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    tenant = (await admin.client.get("/me")).json()["organization"]["id"]
    short = Presence(layer.redis.client(), "live_agent", lasts=room_module.BEAT * 2)
    async with seated(admin, session_id) as ann:
        await short.enter(
            Place(channel_of(UUID(session_id)), tenant), "a dead tab", Present(member_id, "Ben")
        )
        assert (await ann.until("leave"))["member"]["name"] == "Ben"


async def test_A19_a_viewer_reads_and_says_nothing(people: People, admin: Browser) -> None:
    """They are there, hear all, and are told why they are not heard."""
    viewer, _ = await people.join(admin, "Vera", "viewer")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann, seated(viewer, session_id) as vera:
        await vera.say("me, too")
        assert (await vera.until("error"))["code"] == "role_missing"
        await ann.say("for all")
        assert (await vera.until("message"))["text"] == "for all"
        await ann.send(type="presence")
        present = (await ann.until("presence"))["present"]
        assert {each["name"] for each in present} == {"Acme", "Vera"}


async def test_A19_a_session_that_ends_closes_its_room(
    people: People, admin: Browser, second: str
) -> None:
    """After the last event, everywhere; then nobody comes in, and the history is there."""
    session_id = await people.room(admin)
    async with (
        seated(admin, session_id) as here,
        seated(admin.at(second), session_id) as there,
    ):
        assert (await admin.client.post(f"/sessions/{session_id}/end")).status_code == 200
        for live in (here, there):
            assert (await live.until("end"))["member"]["name"] == "Acme"
            assert await live.until_closed() == 4410
    assert await admin.refused(session_id) == (409, "session_ended")
    shown = (await admin.client.get(f"/sessions/{session_id}/events")).json()
    assert [each["type"] for each in shown][:3] == ["start", "join", "end"]


async def test_A19_a_session_that_has_not_begun_takes_no_message(
    people: People, admin: Browser
) -> None:
    """Members wait in it; the start is told, and from then on they speak."""
    made = await admin.client.post("/sessions", json={"room_name": "early"})
    session_id = made.json()["id"]
    async with admin.live(session_id) as live:
        assert (await live.hear())["status"] == "pending"
        await live.say("too early")
        assert (await live.until("error"))["code"] == "session_not_active"
        await admin.client.post(f"/sessions/{session_id}/start")
        await live.until("start")
        await live.say("now")
        assert (await live.until("message"))["text"] == "now"
