"""Browsers for tests: people who are signed in over HTTP, and their seats in rooms."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from httpx import AsyncClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.systems.live_agent.asking import PASSWORD, log_in, sign_up

PATIENCE_SECONDS = 30


class Live:
    """One seat in a room: what it was told, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def hear(self) -> dict[str, Any]:
        """The next thing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            found: dict[str, Any] = json.loads(await self.socket.recv())
            return found

    async def until(self, kind: str, **holds: Any) -> dict[str, Any]:
        """The next of this type for which these fields are so; what comes before is passed over."""
        while True:
            told = await self.hear()
            if told["type"] == kind and holds.items() <= told.items():
                return told

    async def send(self, **fields: Any) -> None:
        """A JSON text."""
        await self.socket.send(json.dumps(fields))

    async def say(self, text: str) -> None:
        """A message."""
        await self.send(type="message", text=text)

    async def until_closed(self) -> int | None:
        """Read to the end: the closing's code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.socket.recv()
        return self.socket.close_code


class Browser:
    """Somebody at one API process, whose address may be changed to another one's."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    def at(self, base_url: str) -> "Browser":
        """The same person, at another process."""
        return Browser(AsyncClient(base_url=base_url, cookies=self.client.cookies))

    @contextlib.asynccontextmanager
    async def live(self, session_id: str, **options: Any) -> AsyncIterator[Live]:
        """A seat, not yet welcomed."""
        async with connect(self.address(session_id), **self._headers(options)) as socket:
            yield Live(socket)

    async def refused(self, session_id: str, **options: Any) -> tuple[int, str]:
        """The status, and the problem's code, of a handshake that is not taken."""
        try:
            async with connect(self.address(session_id), **self._headers(options)):
                raise AssertionError("it was let in")
        except InvalidStatus as refused:
            answer = refused.response
            if not answer.body:
                return answer.status_code, ""
            return answer.status_code, str(json.loads(answer.body)["code"])

    def address(self, session_id: str) -> str:
        """Of the room's WebSocket."""
        base = str(self.client.base_url).rstrip("/").replace("http", "ws", 1)
        return f"{base}/sessions/{session_id}/live"

    def _headers(self, options: dict[str, Any]) -> dict[str, Any]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        more = options.pop("headers", {})
        return {"additional_headers": {"Cookie": cookies, **more}, **options}


class People:
    """Organizations and members, made over HTTP at one process."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._opened: list[AsyncClient] = []

    async def admin(self, name: str) -> Browser:
        """The admin of a new organization."""
        client = self._client()
        await sign_up(client, name, f"admin@{name.lower()}.example")
        return Browser(client)

    async def join(self, admin: Browser, name: str, role: str = "member") -> tuple[Browser, str]:
        """Another one of the admin's organization, and their id."""
        email = f"{name.lower()}@example.org"
        wanted = {"email": email, "password": PASSWORD, "full_name": name, "role": role}
        made = await admin.client.post("/members", json=wanted)
        assert made.status_code == 201, made.text
        client = self._client()
        assert (await log_in(client, email)).status_code == 200
        return Browser(client), str(made.json()["id"])

    async def room(self, browser: Browser, name: str = "the room") -> str:
        """The id of a session that has been started."""
        made = await browser.client.post("/sessions", json={"room_name": name})
        assert made.status_code == 201, made.text
        session_id = str(made.json()["id"])
        started = await browser.client.post(f"/sessions/{session_id}/start")
        assert started.status_code == 200, started.text
        return session_id

    async def close(self) -> None:
        """Close their clients."""
        for client in self._opened:
            await client.aclose()

    def _client(self) -> AsyncClient:
        self._opened.append(AsyncClient(base_url=self.base_url, timeout=PATIENCE_SECONDS))
        return self._opened[-1]


@contextlib.asynccontextmanager
async def seated(browser: Browser, session_id: str) -> AsyncIterator[Live]:
    """A seat that was welcomed."""
    async with browser.live(session_id) as live:
        assert (await live.hear())["type"] == "welcome"
        yield live
