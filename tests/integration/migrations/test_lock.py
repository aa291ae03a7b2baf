"""The migration lock, between connections."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from bedplate.errors import MigrationLockError
from bedplate.migrations.lock import MigrationLock
from bedplate.rows.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bedplate.testing.clones import ScratchDatabase

SOON = timedelta(milliseconds=100)
LONG = timedelta(seconds=20)
# Polls of a waiter, each a statement of its own; none may be inside a transaction.
READ_WAITER = """
SELECT backend_xid IS NULL AND backend_xmin IS NULL AND xact_start IS NULL AS holds_nothing
FROM pg_stat_activity
WHERE application_name = 'waiter' AND state = 'idle' AND query LIKE '%pg_try_advisory_lock%'
"""


@pytest.fixture
async def holder(blank_database: "ScratchDatabase") -> "AsyncIterator[MigrationLock]":
    """A lock that is held."""
    database = Database(blank_database.url, application_name="the holder")
    async with MigrationLock(database, timeout=SOON) as lock:
        yield lock


async def test_lock_is_free_after_its_holder(blank_database: "ScratchDatabase") -> None:
    """The next deploy must not find the lock of the last one."""
    database = Database(blank_database.url)
    for _ in range(2):
        async with MigrationLock(database, timeout=SOON) as lock:
            lock.require_held()


async def test_deadline_names_the_holder(
    blank_database: "ScratchDatabase", holder: MigrationLock, owner: Any
) -> None:
    """A person who must decide whether it is dead needs its pid, its name and since when."""
    with pytest.raises(MigrationLockError, match="the holder") as refusal:
        async with MigrationLock(Database(blank_database.url), timeout=SOON):
            pass
    pid = await owner.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'the holder'"
    )
    assert f"pid {pid}" in refusal.value.message
    assert f"pg_terminate_backend({pid})" in refusal.value.hint
    assert refusal.value.data["since"] is not None


async def test_waiter_holds_no_snapshot(
    blank_database: "ScratchDatabase", holder: MigrationLock, owner: Any
) -> None:
    """CREATE INDEX CONCURRENTLY of the holder would wait for the waiter's snapshot for ever."""
    waiter = Database(blank_database.url, application_name="waiter")

    async def wait() -> None:
        async with MigrationLock(waiter, timeout=LONG):
            pass

    waiting = asyncio.create_task(wait())
    try:
        async with asyncio.timeout(10):
            while (holds_nothing := await owner.fetchval(READ_WAITER)) is None:
                pass
        assert holds_nothing
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_dead_holder_frees_the_lock_and_is_told(
    blank_database: "ScratchDatabase", holder: MigrationLock, owner: Any
) -> None:
    """The server gives the lock to another then: what still runs must stop before it commits."""
    await owner.fetchval(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'the holder'"
    )
    async with MigrationLock(Database(blank_database.url), timeout=SOON):
        with pytest.raises(MigrationLockError, match="was lost"):
            holder.require_held()
