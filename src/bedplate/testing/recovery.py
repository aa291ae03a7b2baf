"""Let a system recover from killed processes at once, instead of waiting for every deadline.

What a dead process held is taken to be overdue: the time is moved and not the rules. Then the real
relay, worker and sweeper do their part, in this process.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.errors import BucketOwnerError
from bedplate.files import ownership
from bedplate.jobs.tasks import Task
from bedplate.layer import DataLayer
from bedplate.testing.draining import Drained, drain

# The server notices a dead client at its next word to it, within milliseconds.
NOTICE_TIMEOUT = timedelta(seconds=10)
POLL_SECONDS = 0.01
# Processes of one run share a bucket, and each sweeps it for a database of its own.
ADOPTIONS = 20

COUNT_OPEN_TRANSACTIONS = text("""
SELECT count(*)
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND backend_type = 'client backend'
   AND pid <> pg_backend_pid()
   AND xact_start IS NOT NULL
""")

END_LEASES = text("""
UPDATE bedplate.jobs
   SET lease_until = clock_timestamp()
 WHERE state IN ('sent', 'running')
""")

END_UPLOADS = text("""
UPDATE bedplate.stored_files
   SET pending_until = clock_timestamp()
 WHERE state = 'pending'
""")


async def recover(layer: DataLayer, tasks: Iterable[Task[Any]]) -> Drained:
    """Do what relay, worker and sweeper would do about processes that were killed, and all is due.

    No other process may work on the database: its leases would be ended, too. Raises as `drain`,
    and `TimeoutError` when a transaction stays open.
    """
    engine = layer.owner_database.engine
    async with layer.owner_database.translated():
        await _await_rollbacks(layer)
        async with engine.begin() as connection:
            await connection.execute(END_LEASES)
            await connection.execute(END_UPLOADS)
    drained = await drain(layer, tasks)
    if layer.settings.has_files:
        await _sweep_files(layer)
    return drained


async def _await_rollbacks(layer: DataLayer) -> None:
    """Rows of a transaction that still ends are locked, and would be passed over."""
    deadline = time.monotonic() + NOTICE_TIMEOUT.total_seconds()
    while True:
        async with layer.owner_database.engine.connect() as connection:
            count = (await connection.execute(COUNT_OPEN_TRANSACTIONS)).scalar_one()
        if not count:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} transactions stay open after their process was killed")
        await asyncio.sleep(POLL_SECONDS)


async def _sweep_files(layer: DataLayer) -> None:
    sweeper = FileSweeper(layer)
    for _ in range(ADOPTIONS):
        async with layer.owner_database.engine.connect() as connection:
            owner = await ownership.identify(connection, layer.owner_database.url)
        await ownership.adopt(layer.files.objects, layer.files.system, owner)
        with suppress(BucketOwnerError):
            await sweeper.sweep()
            return
    await sweeper.sweep()
