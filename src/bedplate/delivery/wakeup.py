"""Wake-ups for the relay: one empty NOTIFY after any number of commits, and the LISTEN for it.

A wake-up saves waiting for the next poll and nothing else, so it may be lost. It never goes out
inside a business transaction, where it would serialise the commits (32 clients: 4,085 against
862 transactions a second), and never on the request's way: `Wakeup.request` only sets a flag.
"""

import asyncio
import logging
import time
from datetime import timedelta
from typing import Any

import asyncpg

from bedplate.errors import BedplateError
from bedplate.rows.database import Database

log = logging.getLogger("bedplate.delivery.wakeup")

CHANNEL = "bedplate_wake"
NOTIFY = f"NOTIFY {CHANNEL}"
# NOTIFY is a transaction of its own: losing one costs a poll, so none waits for the disk.
RELAX = "SET synchronous_commit = off"
# The first request goes out at once, those of a busy time together: a NOTIFY costs the server and
# this process about as much as a job does.
COALESCED = timedelta(milliseconds=5)
# A server that needs longer than this for a NOTIFY is better left to the relay's poll.
NOTIFY_TIMEOUT = timedelta(seconds=2)
# How soon a listener that hears nothing tries again; the relay polls meanwhile.
REOPEN_AFTER = timedelta(seconds=5)

_FAILURES = (BedplateError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class Wakeup:
    """Sends the NOTIFY, on a connection of its own, from a background task of the layer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._requested = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection | None = None

    def request(self) -> None:
        """Have the relay woken soon. Never blocks, never fails; many requests are one NOTIFY."""
        self._requested.set()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_forever(), name="bedplate wake-up")

    async def close(self) -> None:
        """Stop; a request that has not gone out is left to the relay's poll."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait({self._sender})
            self._sender = None
        self._drop()

    async def _send_forever(self) -> None:
        while True:
            await self._requested.wait()
            self._requested.clear()
            try:
                await self._send()
                await asyncio.sleep(COALESCED.total_seconds())
            except _FAILURES:
                log.debug("A wake-up was not sent; the relay polls", exc_info=True)
                self._drop()

    async def _send(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
            await self._connection.execute(RELAX)
        await self._connection.execute(NOTIFY, timeout=NOTIFY_TIMEOUT.total_seconds())

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class Listener:
    """Hears the NOTIFY. It tests itself when opened: behind a pooler LISTEN is silently deaf.

    Whether it hears or not, `wait` returns after its timeout at the latest; it reopens what broke.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heard = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._opened_at = float("-inf")

    @property
    def is_listening(self) -> bool:
        """Whether the connection stands and has proven that it hears."""
        return self._connection is not None and not self._connection.is_closed()

    async def open(self) -> None:
        """Connect, LISTEN, and hear a NOTIFY of another connection. Never fails: see above."""
        await self.close()
        self._opened_at = time.monotonic()
        try:
            connection = await self._database.connect()
        except _FAILURES:
            log.warning("No connection to LISTEN on; polling instead", exc_info=True)
            return
        try:
            await connection.add_listener(CHANNEL, self._hear)
            await self._test()
        except _FAILURES:
            connection.terminate()
            log.warning("LISTEN hears nothing; polling instead", exc_info=True)
            return
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._lose)
        self._connection = connection

    async def wait(self, timeout: timedelta) -> bool:  # noqa: ASYNC109 - it is no deadline
        """Wait for a wake-up. Returns whether one came before the timeout."""
        if not self.is_listening and self._may_reopen():
            await self.open()
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._heard.wait()
        except TimeoutError:
            return False
        self._heard.clear()
        return True

    async def close(self) -> None:
        """Stop listening."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.remove_termination_listener(self._lose)
            connection.terminate()

    async def _test(self) -> None:
        other = await self._database.connect()
        try:
            await other.execute(NOTIFY, timeout=NOTIFY_TIMEOUT.total_seconds())
            async with asyncio.timeout(NOTIFY_TIMEOUT.total_seconds()):
                await self._heard.wait()
        finally:
            other.terminate()

    def _may_reopen(self) -> bool:
        return time.monotonic() - self._opened_at >= REOPEN_AFTER.total_seconds()

    def _hear(self, *_notification: Any) -> None:
        self._heard.set()

    def _lose(self, *_connection: Any) -> None:
        # What was committed while deaf is found by looking once.
        self._heard.set()
