"""One connection to Redis that everyone of this process shares: it pipelines by itself.

Commands of one turn of the event loop go out in one write; answers come back in order, so a caller
who is cancelled only leaves its answer unread, and nobody gets another's. It speaks RESP3 with
client tracking: Redis tells it which keys it has read were changed since.

A server that owes an answer and says nothing for a tenth of a second has its connection closed,
and one that nobody asks is asked for the time each second: that is how a stopped server and a
network that vanished are noticed. Who was waiting gets `LinkLostError`. Made by `route.py`.
"""

import asyncio
import hashlib
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from bedplate.cache.scripts import ALL
from bedplate.redis_address import RedisAddress

Forgotten = Callable[[Sequence[str] | None], None]
# hiredis takes more, and says so in an invariant type.
Argument = str | int | float | bytes | memoryview

CONNECT_SECONDS = 1.0
# Silence is counted in ticks, not read from a clock: a process that was itself stopped, or whose
# loop was busy, has the answer waiting, and must not take the server to be down.
TICK_SECONDS = 0.02
SILENT_TICKS = 4
# For who must tell a server that may be far away, and whom no reader waits for: a second.
PATIENT_TICKS = 50
HEARTBEAT_SECONDS = 1.0
# More than this unanswered, and another command waits longer than going round the cache takes.
MOST_PENDING = 20_000
INCARNATION_LENGTH = 10
DIGESTS = {script: hashlib.sha1(script.encode()).hexdigest() for script in ALL}  # noqa: S324 - EVALSHA's


class LinkLostError(ConnectionError):
    """The connection broke, or the server was silent; whether the command ran is not known."""


class Link(asyncio.Protocol):
    """Made by `connect`. `incarnation` names this life of the server; `forgotten` is told names."""

    def __init__(self, forgotten: Forgotten, silent_ticks: int | None = None) -> None:
        self.incarnation = ""
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._forgotten = forgotten
        self._most_silent = SILENT_TICKS if silent_ticks is None else silent_ticks
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._unwritten: list[bytes] = []
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._has_heard = False
        self._silent_ticks = 0
        self._is_ticking = False
        self._heartbeat: asyncio.TimerHandle | None = None
        self._server_offset_ms = 0.0

    @property
    def is_up(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None and not self.lost.done()

    def now_ms(self) -> float:
        """The server's time, carried on by this process' steady clock."""
        return time.monotonic() * 1000 + self._server_offset_ms

    def send(self, *arguments: Argument) -> "asyncio.Future[Any]":
        """Send a command now; the future has its answer. Raises `LinkLostError` when it is down.

        Commands run in the order in which they were sent. An answer is `bytes`, `int`, a list or
        None; an error of the server is raised as `hiredis.ReplyError`.
        """
        self._check_room()
        return self._queue(arguments)

    def evaluate(
        self, script: str, keys: Sequence[str], *arguments: Argument
    ) -> "asyncio.Future[Any]":
        """Send one of our scripts; see `send`. The keys that it reads are not tracked.

        It changes them itself, and would have this process told of each of its own changes.
        """
        self._check_room()
        # Both or neither: alone it would leave somebody's next read untracked.
        self._queue(("CLIENT", "CACHING", "NO"))
        return self._queue(("EVALSHA", DIGESTS[script], len(keys), *keys, *arguments))

    async def close(self, why: str = "closed") -> None:
        """Close the connection; whoever waits gets `LinkLostError`."""
        self._lose(why)
        if self._transport is not None:
            await self._closed

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio's."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio's."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                self._take(answer)
        except hiredis.ProtocolError as error:
            self._lose(f"it speaks no RESP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio's."""
        self._lose(str(exc) if exc else "the server closed the connection")
        if not self._closed.done():
            self._closed.set_result(None)

    async def greet(self, address: RedisAddress, *, is_replica_fine: bool = False) -> None:
        """Enter the server. Raises `LinkLostError`, `hiredis.ReplyError`."""
        hello: list[Argument] = ["HELLO", 3]
        if address.password is not None:
            hello += ["AUTH", address.user or "default", address.password]
        asked = [self.send(*hello, "SETNAME", "bedplate-cache")]
        if address.database:
            asked.append(self.send("SELECT", address.database))
        asked.append(self.send("CLIENT", "TRACKING", "ON", "OPTOUT"))
        asked += [self.send("SCRIPT", "LOAD", script) for script in ALL]
        server, replication = self.send("INFO", "server"), self.send("INFO", "replication")
        asked_at, now = time.monotonic() * 1000, self.send("TIME")
        for answer in (*asked, server, replication, now):
            await answer
        self._note_time(asked_at, now.result())
        fields = _fields(server.result()) | _fields(replication.result())
        if fields.get("role", "master") != "master" and not is_replica_fine:
            raise LinkLostError("it is a replica")
        # Another one after each restart and each promotion.
        life = f"{fields.get('run_id')} {fields.get('master_replid')}"
        self.incarnation = hashlib.sha256(life.encode()).hexdigest()[:INCARNATION_LENGTH]
        self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS, self._beat)

    def _check_room(self) -> None:
        if not self.is_up or len(self._pending) >= MOST_PENDING:
            raise LinkLostError("the connection to Redis is not open")

    def _queue(self, arguments: Sequence[Argument]) -> "asyncio.Future[Any]":
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(hiredis.pack_command(cast("Any", arguments)))
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append(answer)
        return answer

    def _flush(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        if self._transport is None or self.lost.done():
            return
        self._transport.write(b"".join(unwritten))
        if not self._is_ticking:
            self._is_ticking = True
            self._silent_ticks, self._has_heard = 0, False
            self._loop.call_later(TICK_SECONDS, self._tick)

    def _take(self, answer: Any) -> None:
        if type(answer) is hiredis.PushNotification:
            if answer[0] == b"invalidate":
                names = answer[1]
                self._forgotten(None if names is None else [each.decode() for each in names])
            return
        self._has_heard = True
        if not self._pending:
            self._lose("it answers what was not asked")
            return
        waiting = self._pending.popleft()
        if waiting.done():
            return
        if isinstance(answer, hiredis.ReplyError):
            _fail(waiting, answer)
            if str(answer).startswith(("READONLY", "NOSCRIPT", "LOADING", "NOAUTH")):
                self._lose(f"it says {answer}")
        else:
            waiting.set_result(answer)

    def _tick(self) -> None:
        if self.lost.done() or not self._pending:
            self._is_ticking = False
            return
        self._silent_ticks = 0 if self._has_heard else self._silent_ticks + 1
        self._has_heard = False
        if self._silent_ticks >= self._most_silent:
            self._lose("it does not answer")
            return
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _beat(self) -> None:
        if self.lost.done():
            return
        asked_at = time.monotonic() * 1000

        def note(answer: "asyncio.Future[Any]") -> None:
            if not answer.cancelled() and answer.exception() is None:
                self._note_time(asked_at, answer.result())

        if len(self._pending) < MOST_PENDING:
            self.send("TIME").add_done_callback(note)
        self._heartbeat = self._loop.call_later(HEARTBEAT_SECONDS, self._beat)

    def _note_time(self, asked_at_ms: float, answer: Sequence[bytes]) -> None:
        self._server_offset_ms = int(answer[0]) * 1000 + int(answer[1]) / 1000 - asked_at_ms

    def _lose(self, why: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(why)
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        while self._pending:
            waiting = self._pending.popleft()
            if not waiting.done():
                _fail(waiting, LinkLostError(f"the connection to Redis was lost: {why}"))
        # Whatever this process holds may change unseen from now on.
        self._forgotten(None)
        if self._transport is not None:
            self._transport.abort()


async def connect(
    address: RedisAddress,
    host: str | None,
    port: int,
    forgotten: Forgotten,
    *,
    is_replica_fine: bool = False,
    silent_ticks: int | None = None,
) -> Link:
    """A link to one server, entered and tracking. `host` None: the address' socket.

    Raises `OSError` (`LinkLostError` and a time-out among them) and `hiredis.ReplyError`.
    """
    loop = asyncio.get_running_loop()
    link = Link(forgotten, silent_ticks)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if host is None:
                await loop.create_unix_connection(lambda: link, address.socket_path)
            else:
                context = tls_context(address)
                await loop.create_connection(
                    lambda: link,
                    host,
                    port,
                    ssl=context,
                    server_hostname=host if context is not None else None,
                )
            await link.greet(address, is_replica_fine=is_replica_fine)
    except BaseException:
        await link.close("it could not be entered")
        raise
    return link


def tls_context(address: RedisAddress) -> ssl.SSLContext | None:
    """For rediss:// the server's certificate is checked, unless the URL says otherwise."""
    if not address.is_tls:
        return None
    options = dict(address.options)
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if options.get("ssl_check_hostname", "true").lower() in ("false", "0", "no"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _fail(waiting: "asyncio.Future[Any]", error: Exception) -> None:
    waiting.set_exception(error)
    # Seen: who only told Redis something does not wait for the answer.
    waiting.exception()


def _fields(info: bytes) -> dict[str, str]:
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
