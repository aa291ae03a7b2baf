"""Whatever a browser sends to a room, or does not read: it is told so or closed, nobody else is."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient
from websockets.exceptions import ConnectionClosed

from tests.systems.live_agent.browsers import Browser, Live, People, seated


async def test_A17_another_organizations_room_is_not_there(people: People, admin: Browser) -> None:
    """Answered as a room that does not exist; and nothing said in it is heard outside."""
    other = await people.admin("Others")
    session_id, theirs = await people.room(admin), await people.room(other, "their room")
    nothing = await admin.refused("01890000-0000-7000-8000-000000000000")
    assert await admin.refused(theirs) == nothing == (404, "not_found")
    async with seated(admin, session_id) as ann, seated(other, theirs) as bob:
        await bob.say("among us")
        await bob.until("message")
        await ann.say("ours")
        told = [await ann.hear()]
        while told[-1]["type"] != "message":
            told.append(await ann.hear())
        assert told[-1]["text"] == "ours"
        assert {each["member"]["name"] for each in told} == {"Acme"}


async def test_A19_who_is_nobody_or_comes_from_another_site_is_refused(
    people: People, admin: Browser, first: str
) -> None:
    """Before the handshake: without a sign-in, and with one that another site's page carries."""
    session_id = await people.room(admin)
    async with AsyncClient(base_url=first) as nobody:
        assert await Browser(nobody).refused(session_id) == (401, "not_signed_in")
    evil = {"Origin": "https://evil.example"}
    assert (await admin.refused(session_id, headers=evil))[0] == 403
    ours = {"Origin": str(admin.client.base_url).rstrip("/")}
    async with admin.live(session_id, headers=ours) as live:
        assert (await live.hear())["type"] == "welcome"


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "no JSON",
        "[]",
        "null",
        '{"type": "message"}',
        '{"type": "message", "text": ""}',
        '{"type": "message", "text": 7}',
        '{"type": "message", "text": "a\\u0000b"}',
        '{"type": "message", "text": "\\ud800"}',
        '{"type": "message", "text": "x", "role": "admin"}',
        '{"type": "end"}',
        "[" * 5000,
        '{"type": "message", "text": "' + "x" * 4001 + '"}',
    ],
    ids=lambda sent: sent[:40],
)
async def test_A19_what_is_no_message_is_refused_and_the_room_goes_on(
    people: People, admin: Browser, sent: str
) -> None:
    """Said in one line, and nobody else hears of it."""
    session_id = await people.room(admin)
    async with seated(admin, session_id) as live:
        await live.socket.send(sent)
        assert (await live.until("error"))["code"] == "message_invalid"
        await live.say("¡Hola! 你好 \U0001f600")
        assert (await live.until("message"))["text"] == "¡Hola! 你好 \U0001f600"


@pytest.mark.parametrize("how", ["binary", "too long", "flood"])
async def test_A19_a_browser_that_breaks_a_bound_is_closed(
    people: People, admin: Browser, how: str
) -> None:
    """With the code that says which; the others stay."""
    member, _ = await people.join(admin, "Ben")
    session_id = await people.room(admin)
    async with seated(admin, session_id) as ann, seated(member, session_id) as ben:
        if how == "flood":
            for _ in range(500):
                await ben.socket.send("{}")
        else:
            await ben.socket.send(b"\x00" if how == "binary" else "x" * 20_000)
        code = {"binary": 1003, "too long": 1009, "flood": 1008}[how]
        assert await ben.until_closed() == code
        assert (await ann.until("leave"))["member"]["name"] == "Ben"
        await ann.say("still here")
        await ann.until("message")


async def test_A19_a_slow_reader_is_dropped_and_holds_up_nobody(
    people: People, admin: Browser
) -> None:
    """It is told why when it reads on; meanwhile the others have heard everything."""
    sloth, _ = await people.join(admin, "Sloth")
    session_id = await people.room(admin)
    # A small window, and a client that takes nothing out of its own queue.
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    base = admin.client.base_url
    await asyncio.get_running_loop().sock_connect(raw, (base.host, base.port or 80))
    async with (
        seated(admin, session_id) as ann,
        sloth.live(session_id, sock=raw, max_queue=1) as slow,
        speaking(admin, session_id, count=10) as speakers,
    ):
        said, is_dropped = 0, False
        while not is_dropped:
            await speakers[said % 10].say(f"{said} ".ljust(4000, "x"))
            said += 1
            assert said < 600, "nobody is ever dropped"
            told = await ann.hear()
            while told["type"] != "message":
                is_dropped = is_dropped or told["type"] == "leave"
                told = await ann.hear()
            assert told["text"].startswith(f"{said - 1} ")
        # More than what may wait, and less than what would hold up a server.
        assert said > 100
        assert await slow.until_closed() == 1013


@contextlib.asynccontextmanager
async def speaking(browser: Browser, session_id: str, count: int) -> AsyncIterator[list[Live]]:
    """Seats that read all that they are told."""

    async def read(live: Live) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await live.socket.recv()

    async with contextlib.AsyncExitStack() as opened:
        seats = [
            await opened.enter_async_context(seated(browser, session_id)) for _ in range(count)
        ]
        readers = [asyncio.create_task(read(each)) for each in seats]
        try:
            yield seats
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
