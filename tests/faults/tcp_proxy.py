"""A TCP proxy before any server: what a network does to a connection, at the test's word.

    with TcpProxy.before(url) as proxy:
        layer_url = proxy.in_url(url)
        proxy.latency = 0.2          # seconds, each way
        proxy.bandwidth = 64_000     # bytes a second, each way, for all connections
        proxy.reset()                # RST to both sides of every connection that stands
        proxy.reset_after(1000)      # … once so many bytes more have passed
        proxy.is_black_hole = True   # takes everything, passes nothing on, says nothing
        proxy.vanish()               # so for the connections that stand; new ones are passed on
        proxy.is_refusing = True     # accepts, and answers with RST
        proxy.swallow(b"COMMIT")     # the first answer that holds it is kept, and all after it

It runs in a thread with a loop of its own, so that a test may block. TLS is not looked into.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 1 << 16
# SO_LINGER on, and zero: close() sends RST instead of FIN.
ABORT = struct.pack("ii", 1, 0)
IDLE_SECONDS = 0.005


class TcpProxy:
    """Stands before one address. Its attributes may be changed at any time, from any thread."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.upstream_port = host, port
        self.port = 0
        self.latency = 0.0
        self.bandwidth: float | None = None
        self.is_black_hole = False
        self.is_refusing = False
        self.swallowed = threading.Event()
        self.passed_bytes = 0
        self.resets = 0
        self._reset_at: int | None = None
        self._swallowing: bytes | None = None
        self._free_at = 0.0
        self._vanished: set[object] = set()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy")
        self._server: asyncio.Server | None = None

    @classmethod
    def before(cls, url: str) -> Self:
        """A proxy before the server that a URL names."""
        parts = urlsplit(url)
        assert parts.port is not None, "the URL has no port"
        return cls(parts.hostname or "127.0.0.1", parts.port)

    def in_url(self, url: str) -> str:
        """The same URL, by way of the proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def connections(self) -> int:
        """How many connections stand."""
        return len(self._pairs)

    def reset(self) -> None:
        """Break every connection that stands; new ones are passed on."""
        self._run(self._abort_all())

    def reset_after(self, count: int) -> None:
        """Break every connection when `count` bytes more have passed, in the middle of a chunk."""
        self._reset_at = self.passed_bytes + count

    def swallow(self, marker: bytes) -> None:
        """Keep the server's next answer that holds `marker`; `swallowed` is set then.

        Nothing more of that connection reaches its client, as when the network broke just then.
        """
        self.swallowed.clear()
        self._swallowing = marker

    def vanish(self) -> None:
        """Nothing passes over the connections that stand, for ever: their peer is gone."""
        self._vanished |= set(self._pairs)

    def heal(self) -> None:
        """Pass everything on as it comes. What was swallowed stays so; such connections break."""
        self.latency, self.bandwidth = 0.0, None
        self.is_black_hole = self.is_refusing = False
        self._reset_at = self._swallowing = None

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    # Below: only in the proxy's loop.

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._abort_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _abort_all(self) -> None:
        for pair in list(self._pairs):
            self._abort(*pair)

    def _abort(self, *writers: asyncio.StreamWriter) -> None:
        self.resets += 1
        for writer in writers:
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._tasks.add(own)
        own.add_done_callback(self._tasks.discard)
        # Cancelled at the end alone; Python 3.11's streams log a task that says so.
        with contextlib.suppress(asyncio.CancelledError):
            await self._join(reader, writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._hold()
        if self.is_refusing:
            self._abort(writer)
            return
        try:
            back, forth = await asyncio.open_connection(self.host, self.upstream_port)
        except OSError:
            self._abort(writer)
            return
        pair = (writer, forth)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(reader, forth, pair), self._pump(back, writer, pair, is_answer=True)
            )
        except OSError:
            self._abort(*pair)
        finally:
            self._pairs.discard(pair)
            self._vanished.discard(pair)
            for each in pair:
                each.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        is_answer: bool = False,
    ) -> None:
        is_swallowing = False
        while chunk := await reader.read(CHUNK_BYTES):
            if is_answer and self._swallowing is not None and self._swallowing in chunk:
                is_swallowing, self._swallowing = True, None
                self.swallowed.set()
            if is_swallowing:
                continue
            await self._slow_down(len(chunk))
            await self._hold(pair)
            is_last = self._reset_at is not None and self.passed_bytes + len(chunk) > self._reset_at
            if is_last:
                assert self._reset_at is not None
                writer.write(chunk[: self._reset_at - self.passed_bytes])
                self._reset_at = None
                await self._abort_all()
                return
            self.passed_bytes += len(chunk)
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof() and not is_swallowing:
            writer.write_eof()

    async def _hold(self, pair: object = None) -> None:
        while self.is_black_hole or pair in self._vanished:  # noqa: ASYNC110 - a flag that other threads set
            await asyncio.sleep(IDLE_SECONDS)

    async def _slow_down(self, count: int) -> None:
        pause = self.latency
        if self.bandwidth is not None:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self.bandwidth
            pause += self._free_at - now
        if pause:
            await asyncio.sleep(pause)
