"""One WebSocket, held to bounds in both directions, so that no browser can hold up the others.

    @app.websocket("/rooms/{room_id}")
    async def live(websocket: WebSocket, layer: DepLayer) -> None:
        ...                                     # who is it? Refuse by raising a Problem
        async with open_socket(websocket) as socket:
            async for text in socket.texts():
                socket.send(answer(text))

`send` never waits: what the browser does not read waits in a queue of bounded size, and who lets it
run full is dropped. What comes in is text, not too long and not too often. Whoever breaks that is
closed with the code that says so, and may connect anew. Before `open_socket` a raised `Problem` is
an HTTP answer (401, 404 …) instead of a handshake. The loop's end leaves the room in every case:
the browser left, `close` was called, or the server stops (1001).
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from starlette.websockets import WebSocket, WebSocketDisconnect

# Of RFC 6455, section 7.4.1.
NORMAL = 1000
NO_BINARY = 1003
TOO_OFTEN = 1008
TOO_LONG = 1009
FAILED = 1011
# As registered: try again later.
TOO_SLOW = 1013

# How long what waits may take to go out, and the closing after it.
CLOSE_PATIENCE = timedelta(seconds=2)
# What the server raises when the browser is gone, or the closing has begun.
GONE = (WebSocketDisconnect, RuntimeError, OSError)


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Bounds of one socket: texts that come in, and what waits to go out."""

    text_bytes: int = 16 << 10
    waiting_bytes: int = 1 << 20
    burst: int = 60
    per_second: float = 20.0


class Socket:
    """An accepted WebSocket; made by `open_socket`. Use it from one event loop."""

    def __init__(self, websocket: WebSocket, limits: SocketLimits) -> None:
        self.limits = limits
        self.closed_with: int | None = None
        self._websocket = websocket
        self._waiting: deque[tuple[str, int]] = deque()
        self._waiting_bytes = 0
        self._has_any = asyncio.Event()
        self._is_over = asyncio.Event()
        self._allowance, self._allowed_at = float(limits.burst), time.monotonic()
        self._writer = asyncio.create_task(self._write(), name="socket writer")
        self._closer: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether texts still go out."""
        return self._closer is None and not self._is_over.is_set()

    def send(self, text: str) -> None:
        """Have a text go out after the ones before. Never waits; who does not read is dropped."""
        if not self.is_open:
            return
        size = len(text)
        if self._waiting_bytes + size > self.limits.waiting_bytes:
            self._waiting.clear()
            self.close(TOO_SLOW, "you read too slowly: connect anew")
            return
        self._waiting.append((text, size))
        self._waiting_bytes += size
        self._has_any.set()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close with this code, after what waits. The first call counts; it waits for nothing."""
        if self.is_open:
            self.closed_with = code
            self._closer = asyncio.create_task(self._close(code, reason), name="socket closer")

    async def texts(self) -> AsyncIterator[str]:
        """What the browser sends, until the socket is closed by either side or the server."""
        over = asyncio.create_task(self._is_over.wait(), name="socket is over")
        try:
            while True:
                receiving = asyncio.create_task(self._receive(), name="socket receive")
                try:
                    await asyncio.wait((receiving, over), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    receiving.cancel()
                    await asyncio.wait((receiving,))
                if receiving.cancelled() or (text := receiving.result()) is None:
                    return
                yield text
        finally:
            over.cancel()

    async def finish(self, code: int) -> None:
        """Close it if nobody has, and wait until it is. Called at the end of `open_socket`."""
        self.close(code)
        if self._closer is not None:
            await self._closer
        self._writer.cancel()
        await asyncio.wait((self._writer,))

    async def _receive(self) -> str | None:
        """The next text; None at the end, also when the browser broke a bound."""
        try:
            message = await self._websocket.receive()
        except GONE:
            self._is_over.set()
            return None
        if message["type"] == "websocket.disconnect":
            self.closed_with = self.closed_with or message.get("code")
            self._is_over.set()
            return None
        text = message.get("text")
        if text is None:
            self.close(NO_BINARY, "only text is understood")
        elif len(text.encode("utf-8", "surrogatepass")) > self.limits.text_bytes:
            self.close(TOO_LONG, f"a message has {self.limits.text_bytes} bytes at most")
        elif not self._is_allowed():
            self.close(TOO_OFTEN, "too many messages: connect anew, and send fewer")
        else:
            return str(text)
        return None

    def _is_allowed(self) -> bool:
        now = time.monotonic()
        earned = (now - self._allowed_at) * self.limits.per_second
        self._allowance = min(self._allowance + earned, float(self.limits.burst)) - 1
        self._allowed_at = now
        return self._allowance >= 0

    async def _write(self) -> None:
        while True:
            while self._waiting:
                text, size = self._waiting.popleft()
                try:
                    await self._websocket.send_text(text)
                except GONE:
                    self._is_over.set()
                    return
                self._waiting_bytes -= size
            if self._closer is not None:
                return
            self._has_any.clear()
            await self._has_any.wait()

    async def _close(self, code: int, reason: str) -> None:
        self._has_any.set()
        # Who is too slow would not take what waits either.
        patience = 0 if code == TOO_SLOW else CLOSE_PATIENCE.total_seconds()
        await asyncio.wait((self._writer,), timeout=patience)
        self._writer.cancel()
        await asyncio.wait((self._writer,))
        with contextlib.suppress(*GONE, TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE.total_seconds()):
                await self._websocket.close(code, reason)
        self._is_over.set()


@contextlib.asynccontextmanager
async def open_socket(
    websocket: WebSocket, limits: SocketLimits | None = None
) -> AsyncIterator[Socket]:
    """Accept a WebSocket, and close it at the end of the block: with 1011 after an exception."""
    await websocket.accept()
    socket = Socket(websocket, limits or SocketLimits())
    code = FAILED
    try:
        yield socket
        code = NORMAL
    finally:
        await socket.finish(code)
