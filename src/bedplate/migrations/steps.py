"""What every way of migrating does, in this order: lock, our tables, grants, the system's.

Called by `upgrade.py` (the command, the start of a process) and by `env.py` (plain Alembic), so
that the two cannot differ. A statement waits at most `LOCK_TIMEOUT` for a table: one ALTER that
queues behind a long query would else stop all traffic behind it. Then it is tried again, later.
"""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bedplate.migrations import grants, indexes
from bedplate.migrations.layer_schema import LayerRevision, apply_layer
from bedplate.migrations.lock import MigrationLock
from bedplate.rows.database import Database
from bedplate.settings import Settings

TIMEOUT = timedelta(minutes=5)
LOCK_TIMEOUT = "SET lock_timeout = '5s'"
LOCK_NOT_AVAILABLE = "55P03"
DUPLICATE_TABLE = "42P07"  # what CREATE INDEX says of an index that is there already
BACKOFF = (timedelta(milliseconds=250), timedelta(seconds=8))

log = logging.getLogger("bedplate.migrations")


@dataclass(frozen=True)
class Applied:
    """One revision that was just applied, or taken back. Ours are numbered `bedplate:0001`."""

    revision: str
    title: str
    duration: timedelta
    is_upgrade: bool = True


class Journal:
    """What one run applied, in order; `on_step` hears of each."""

    def __init__(self, on_step: Callable[[Applied], None] | None = None) -> None:
        self.applied: list[Applied] = []
        self._on_step = on_step
        self._since = time.monotonic()

    def start(self) -> None:
        """Begin to measure the next revision."""
        self._since = time.monotonic()

    def note(self, revision: str, title: str, *, is_upgrade: bool = True) -> None:
        """Add a revision; its duration is the time since the last one."""
        now = time.monotonic()
        step = Applied(revision, title, timedelta(seconds=now - self._since), is_upgrade)
        self._since = now
        self.applied.append(step)
        if self._on_step is not None:
            self._on_step(step)

    @property
    def has_system_steps(self) -> bool:
        """Whether a revision of the system is among them."""
        return any(not each.revision.startswith("bedplate:") for each in self.applied)

    def note_layer(self, revision: LayerRevision) -> None:
        """Add one of the layer's own."""
        self.note(f"bedplate:{revision.number}", revision.title)


def migration_database(settings: Settings) -> Database:
    """The owner's database past any pooler: a few connections, each for one purpose."""
    return Database(
        settings.migration_database(),
        role=None,
        pool_size=1,
        max_overflow=1,
        pool_timeout=settings.connect_timeout,
        pool_recycle=settings.pool_recycle,
        connect_timeout=settings.connect_timeout,
        is_behind_pooler=False,
        # Read by whoever waits for this process: it names the holder by it.
        application_name=f"bedplate migrate {socket.gethostname()}:{os.getpid()}"[:63],
    )


async def migrate(
    database: Database,
    role: str,
    run: Callable[[Connection, MigrationLock], None] | None,
    journal: Journal,
    *,
    timeout: timedelta = TIMEOUT,  # noqa: ASYNC109 - for the lock and tries, not for the whole
    is_relative: bool = False,
) -> timedelta:
    """Take the lock, apply what is missing of ours, then let `run` do the system's part.

    `run` reads the version itself, after the lock: whoever waited finds the head and does nothing.
    Answers how long it waited. `is_relative` says that `run` counts from the current revision,
    so that it is not repeated once it has applied something.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    async with MigrationLock(database, timeout=timeout) as lock:
        connection = await database.connect()
        try:
            await connection.execute(LOCK_TIMEOUT)
            journal.start()
            await _retried(lambda: _apply_own(connection, role, journal), deadline, connection)
            if run is not None:
                await _retried(
                    lambda: _run_system(database, lock, run, journal),
                    deadline,
                    connection,
                    lambda: not (is_relative and journal.has_system_steps),
                )
                await grants.protect_version(connection, role)
                await _retried(lambda: indexes.rebuild(connection), deadline, connection)
        finally:
            await connection.close()
        return lock.waited


async def _apply_own(connection: Any, role: str, journal: Journal) -> None:
    await apply_layer(connection, on_apply=journal.note_layer)
    await grants.grant(connection, role)


async def _run_system(
    database: Database,
    lock: MigrationLock,
    run: Callable[[Connection, MigrationLock], None],
    journal: Journal,
) -> None:
    lock.require_held()
    async with database.engine.connect() as bind:
        await bind.exec_driver_sql(LOCK_TIMEOUT)
        await bind.commit()
        journal.start()
        await bind.run_sync(run, lock)


async def _retried(
    step: Callable[[], Awaitable[None]],
    deadline: float,
    connection: Any,
    may_repeat: Callable[[], bool] = lambda: True,
) -> None:
    """Repeat `step` while a table is locked, or an invalid index of an earlier try is in the way.

    What the failed try had committed stays: the next one goes on after it.
    """
    pauses = _pauses()
    while True:
        try:
            return await step()
        except (DBAPIError, asyncpg.PostgresError) as error:
            state = sqlstate_of(error)
            if not may_repeat():
                raise
            if state == DUPLICATE_TABLE and await indexes.drop_named_in(connection, str(error)):
                continue
            pause = next(pauses)
            if state != LOCK_NOT_AVAILABLE or time.monotonic() + pause > deadline:
                raise
        log.warning("A table is locked, the migration tries again", extra={"pause": pause})
        await asyncio.sleep(pause)


def sqlstate_of(error: BaseException) -> str | None:
    """PostgreSQL's code of an error, whether SQLAlchemy wraps it or not."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None


def _pauses() -> Iterator[float]:
    pause, most = (bound.total_seconds() for bound in BACKOFF)
    while True:
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter only
        pause = min(2 * pause, most)
