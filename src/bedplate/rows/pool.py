"""The pool of connections: what it says when it is empty, and how it finds the dead.

A server that restarts closes its sockets, so its connections are known to be dead without asking.
A peer that vanishes without a word is found by asking, and only a connection that lay idle for a
while is asked: a question before every use would cost each request a round trip.
"""

import asyncio
import logging
import time
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import AsyncAdaptedQueuePool, Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from bedplate.errors import PoolExhaustedError

# A connection that was used more recently than this is trusted. Firewalls and NAT forget idle
# connections after some minutes at the soonest.
TRUSTED_IDLE = timedelta(seconds=30)
# How long the question may take before the connection counts as dead.
PING_TIMEOUT = timedelta(seconds=2)

# SQLAlchemy logs a pool under its class' name: ours, where INFO is for people.
logging.getLogger(f"{__name__}.Pool").setLevel(logging.WARNING)


class Pool(AsyncAdaptedQueuePool):
    """SQLAlchemy's queue pool, with an error of ours when it has nothing left."""

    def connect(self) -> PoolProxiedConnection:
        """A connection of the pool. Raises `PoolExhaustedError` after the pool's timeout."""
        try:
            return super().connect()
        except PoolTimeoutError as error:
            raise PoolExhaustedError(
                f"all {self.size() + self._max_overflow} connections of the pool are in use, "
                f"and none came back in {self.timeout():g} s",
                hint="Hold transactions for a shorter time (no network call inside), "
                "or raise BEDPLATE_POOL_SIZE and BEDPLATE_MAX_OVERFLOW.",
                pool_size=self.size(),
                max_overflow=self._max_overflow,
            ) from error


def keep_alive(engine: Engine, trusted_idle: timedelta = TRUSTED_IDLE) -> None:
    """Make the engine's pool replace dead connections before a caller gets them."""

    def check(dbapi_connection: Any, record: Any, _proxy: object) -> None:
        if dbapi_connection.driver_connection.is_closed():
            # Closed by the server (a restart): every other of that time is dead, too.
            raise InvalidatePoolError
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic() - idle_since < trusted_idle.total_seconds():
            return
        try:
            dbapi_connection.run_async(_ping)
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", _note_idle)
    event.listen(engine, "checkout", check)


async def _ping(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(PING_TIMEOUT.total_seconds()):
        await connection.execute("SELECT 1")


def _note_idle(_dbapi_connection: object, record: Any) -> None:
    record.info["idle_since"] = time.monotonic()
