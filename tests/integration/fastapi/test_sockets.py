"""WebSockets on a real server: what is too much is closed with the code that says so."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bedplate.cli import socket_protocol
from bedplate.fastapi import Problem, SameOrigin, Socket, SocketLimits, open_socket
from bedplate.fastapi.problems import install_problems
from bedplate.fastapi.sockets import NO_BINARY, TOO_LONG, TOO_OFTEN, TOO_SLOW
from tests.integration.cache.valkey import until
from tests.serving import served, serving

PATIENCE_SECONDS = 30
LIMITS = SocketLimits(text_bytes=1000, waiting_bytes=100_000, burst=20, per_second=0.001)


class Room:
    """Every text that one socket sends goes to all; `left` counts those that are gone."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self.left = 0
        self.has_left = asyncio.Event()

    def say(self, text: str) -> None:
        """To all."""
        for each in list(self.sockets):
            each.send(text)


def make_app(room: Room) -> FastAPI:
    """One room, and an address where nobody may enter."""
    app = FastAPI()
    install_problems(app)
    app.add_middleware(SameOrigin)

    @app.websocket("/room")
    async def enter(websocket: WebSocket) -> None:
        try:
            async with open_socket(websocket, LIMITS) as opened:
                room.sockets.add(opened)
                async for text in opened.texts():
                    if text == "fail":
                        raise LookupError("on purpose")
                    if text == "bye":
                        opened.send("the last word")
                        opened.close(4410, "over")
                    room.say(text)
        except LookupError:
            pass
        finally:
            room.sockets = {each for each in room.sockets if each.is_open}
            room.left += 1
            room.has_left.set()

    @app.websocket("/locked")
    async def refuse(websocket: WebSocket) -> None:
        raise Problem(404, "No such room.", code="not_found")

    return app


@pytest.fixture
async def room() -> Room:
    """An empty room."""
    return Room()


@pytest.fixture
async def address(room: Room) -> AsyncIterator[str]:
    """Where the room is served."""
    async with served(make_app(room)) as url:
        yield as_socket(url)


def as_socket(url: str) -> str:
    """The same address, for WebSockets."""
    return url.replace("http", "ws", 1)


async def hear(client: ClientConnection) -> str:
    """The next text."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return str(await client.recv())


async def until_closed(client: ClientConnection) -> tuple[int | None, str]:
    """Read to the end: the closing's code and reason."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code, client.close_reason or ""


async def test_texts_reach_everyone_in_order(address: str) -> None:
    """The ordinary case."""
    async with connect(f"{address}/room") as one, connect(f"{address}/room") as other:
        for index in range(10):
            await one.send(f"text {index}")
        for client in (one, other):
            assert [await hear(client) for _ in range(10)] == [f"text {i}" for i in range(10)]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x00\x01", NO_BINARY),
        ("x" * 1001, TOO_LONG),
        ("é" * 501, TOO_LONG),
        ("x" * (socket_protocol.LARGEST_FRAME_BYTES + 1), TOO_LONG),
    ],
    ids=["binary", "too long", "too long in bytes", "longer than any frame"],
)
async def test_what_is_not_understood_closes_with_its_code(
    address: str, room: Room, sent: Any, code: int
) -> None:
    """And nobody else notices."""
    async with connect(f"{address}/room") as other, connect(f"{address}/room") as bad:
        await bad.send(sent)
        assert (await until_closed(bad))[0] == code
        await other.send("still here")
        assert await hear(other) == "still here"


async def test_a_flood_is_closed(address: str) -> None:
    """So many at once are allowed, and no more."""
    async with connect(f"{address}/room") as flooding:
        for _ in range(LIMITS.burst):
            await flooding.send("x")
        for _ in range(LIMITS.burst):
            assert await hear(flooding) == "x"
        await flooding.send("one too many")
        code, reason = await until_closed(flooding)
        assert code == TOO_OFTEN
        assert "too many" in reason


async def test_a_slow_reader_is_dropped_and_holds_up_nobody(address: str, room: Room) -> None:
    """Its buffers are full: the others get everything, and what waited for it is let go."""
    # A small window, and a client that takes nothing out of its own queue.
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host, port = address.removeprefix("ws://").split(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    async with (
        connect(f"{address}/room", sock=raw, max_queue=1) as slow,
        connect(f"{address}/room") as quick,
    ):
        text = "x" * 9000
        count = 0
        while len(room.sockets) == 2 and all(each.is_open for each in room.sockets):
            room.say(f"{count} {text}")
            assert (await hear(quick)).startswith(f"{count} ")
            count += 1
            assert count < 2000, "nobody is ever dropped"
        dropped = [each for each in room.sockets if not each.is_open]
        assert [each.closed_with for each in dropped] in ([], [TOO_SLOW])
        await asyncio.wait_for(room.has_left.wait(), PATIENCE_SECONDS)
        assert room.left == 1
        # Whoever reads on after all is told why.
        assert (await until_closed(slow))[0] == TOO_SLOW
        room.say("the end")
        assert await hear(quick) == "the end"


async def test_who_never_reads_again_is_cut_off(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closing that nobody takes would keep the connection for ever."""
    monkeypatch.setattr(socket_protocol, "LINGER_SECONDS", 0.2)
    async with serving(make_app(room)) as (url, server):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        parts = urlsplit(url)
        await asyncio.get_running_loop().sock_connect(raw, (parts.hostname, parts.port))
        slow = await connect(f"{as_socket(url)}/room", sock=raw, max_queue=1, close_timeout=0.1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not room.left:
                room.say("x" * 9000)
                await asyncio.sleep(0)
        await until(lambda: not server.server_state.connections, "it is cut off")
        await slow.close()


async def test_a_stop_of_the_server_says_that_it_goes_away(room: Room) -> None:
    """1001: a browser knows to come back, and the room is left in order."""
    async with (
        serving(make_app(room)) as (url, server),
        connect(f"{as_socket(url)}/room") as client,
    ):
        await client.send("hello")
        assert await hear(client) == "hello"
        server.should_exit = True
        assert (await until_closed(client))[0] == 1001
        await asyncio.wait_for(room.has_left.wait(), PATIENCE_SECONDS)


async def test_a_closing_comes_after_what_was_said(address: str) -> None:
    """The code is the application's own."""
    async with connect(f"{address}/room") as client:
        await client.send("bye")
        assert await hear(client) == "the last word"
        assert await until_closed(client) == (4410, "over")


async def test_a_failure_in_the_room_is_said(address: str) -> None:
    """1011, and no word of what it was."""
    async with connect(f"{address}/room") as client:
        await client.send("fail")
        assert await until_closed(client) == (1011, "")


async def test_a_refusal_is_an_answer_with_problem_details(address: str) -> None:
    """Before the handshake: a program reads why, as anywhere else."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{address}/locked"):
            pass
    answer = refused.value.response
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body or b"")["code"] == "not_found"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_another_sites_page_cannot_connect(address: str, origin: str) -> None:
    """Its browser would send our cookie along (cross-site WebSocket hijacking)."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{address}/room", additional_headers={"Origin": origin}):
            pass
    assert refused.value.response.status_code == 403
