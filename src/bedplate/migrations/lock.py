"""The migration lock: one process migrates a database, the others wait and find it done.

A session advisory lock on a connection of its own, polled outside any transaction. A waiter that
blocks in `pg_advisory_lock`, or polls inside a transaction, holds a snapshot that CREATE INDEX
CONCURRENTLY waits for: a deadlock, or an index left INVALID. Session locks need a connection
past any transaction pooler, which is why the URL is the one for migrations.
"""

import asyncio
import contextlib
import random
import time
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bedplate.errors import MigrationLockError

if TYPE_CHECKING:
    from bedplate.rows.database import Database

# The layer's own space of advisory locks for whole sessions: "bedm". Keys count up in it.
NAMESPACE = 0x6265646D
MIGRATE = 1
# Short enough that a waiter starts at once, long enough that fifty replicas are no load.
POLL_BETWEEN = (timedelta(milliseconds=40), timedelta(milliseconds=160))
# A holder whose machine is gone is noticed by the server after 20 + 3 × 5 seconds.
KEEPALIVE = (
    "SET tcp_keepalives_idle = 20",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET idle_session_timeout = 0",
)

TRY_LOCK = "SELECT pg_try_advisory_lock($1, $2)"

# A waiter's last statement is its next try; a holder's is the try that succeeded.
NAME_HOLDER = """
SELECT a.pid, a.application_name, a.client_addr, a.query_start
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory'
  AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = $1::bigint::oid
  AND l.objid = $2::bigint::oid
  AND l.objsubid = 2
"""


class MigrationLock:
    """Held between `async with` and its end; `waited` says how long it took to get."""

    def __init__(
        self, database: "Database", *, timeout: timedelta, namespace: int = NAMESPACE
    ) -> None:
        self.waited = timedelta()
        self._database = database
        self._timeout = timeout
        self._namespace = namespace
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        self._connection = await self._database.connect()
        try:
            self.waited = await self._acquire()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    def require_held(self) -> None:
        """Raise when the connection that holds the lock is gone: another may migrate by now."""
        if self._connection is None or self._connection.is_closed():
            raise MigrationLockError(
                "the connection that held the migration lock was lost",
                hint="Run the same command again: it goes on after the last applied revision.",
            )

    async def _acquire(self) -> timedelta:
        for statement in KEEPALIVE:
            await self._connection.execute(statement)
        started = time.monotonic()
        while not await self._connection.fetchval(TRY_LOCK, self._namespace, MIGRATE):
            waited = timedelta(seconds=time.monotonic() - started)
            if waited >= self._timeout:
                raise await self._refusal()
            await asyncio.sleep(_pause(self._timeout - waited))
        return timedelta(seconds=time.monotonic() - started)

    async def _refusal(self) -> MigrationLockError:
        holder = await self._connection.fetchrow(NAME_HOLDER, self._namespace, MIGRATE)
        if holder is None:
            return MigrationLockError(
                f"the migration lock was not free within {self._timeout.total_seconds():g} s",
                hint="Its holder has just gone: run the same command again.",
            )
        since = holder["query_start"]
        since_text = f"{since:%Y-%m-%d %H:%M:%S} UTC" if since else "an unknown time"
        return MigrationLockError(
            f"another process has held the migration lock since {since_text}: "
            f"pid {holder['pid']} ({holder['application_name'] or 'no application name'}, "
            f"{holder['client_addr'] or 'local'})",
            hint="Wait for it with a longer --timeout; if it is dead: "
            f"SELECT pg_terminate_backend({holder['pid']});",
            pid=holder["pid"],
            application_name=holder["application_name"],
            since=since,
        )

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing releases the lock; a connection that is broken already has released it.
            with contextlib.suppress(OSError, TimeoutError):
                await connection.close(timeout=5)


def _pause(remaining: timedelta) -> float:
    low, high = (bound.total_seconds() for bound in POLL_BETWEEN)
    return min(random.uniform(low, high), remaining.total_seconds())  # noqa: S311 - jitter only
