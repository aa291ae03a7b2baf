"""The sweeper of jobs: forgets those that ended, after their retention, so that no table grows.

Dead ones stay longer, for somebody to look at and put back. Batch by batch, each a transaction of
its own, oldest first: ids begin with their time, so the primary key leads straight to what is old,
and no index has to be kept for it with every job. Any number may run. Called by the relay's
process and by the direct worker.
"""

import asyncio
import logging
from datetime import timedelta

from sqlalchemy import text

from bedplate.errors import UnreachableError
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection

log = logging.getLogger("bedplate.delivery.job_sweeper")

INTERVAL = timedelta(minutes=1)
BATCH = 1000

# The bound on ids is that of a UUIDv7 made at the end of the shorter retention: later ones ended
# later still.
PURGE = text("""
WITH old AS MATERIALIZED (
    SELECT id
      FROM bedplate.jobs
     WHERE id < CAST(rpad(lpad(to_hex(CAST(
             extract(epoch FROM now() - least(CAST(:retention AS interval),
                                              CAST(:dead_retention AS interval))) * 1000
             AS bigint)), 12, '0'), 32, '0') AS uuid)
       AND state IN ('succeeded', 'cancelled', 'dead')
       AND finished_at <= now() - CASE state WHEN 'dead' THEN CAST(:dead_retention AS interval)
                                             ELSE CAST(:retention AS interval) END
     ORDER BY id
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
)
DELETE FROM bedplate.jobs AS job
 USING old
 WHERE job.id = old.id
   AND job.state IN ('succeeded', 'cancelled', 'dead')
RETURNING job.id
""")


class JobSweeper:
    """Sweeps one layer's jobs, as its owner. The layer is opened by the caller."""

    def __init__(self, layer: DataLayer, *, batch: int = BATCH) -> None:
        self._settings = layer.settings
        self._batch = batch
        # A crash of the server may forget that they were forgotten.
        self._connection = DriverConnection(layer.owner_database, is_relaxed=True)

    async def run(self) -> None:
        """Sweep until cancelled. Outlives a database that goes away and comes back."""
        try:
            while True:
                try:
                    await self.sweep()
                except UnreachableError:
                    log.debug("Finished jobs are swept later", exc_info=True)
                await asyncio.sleep(INTERVAL.total_seconds())
        finally:
            await self.close()

    async def sweep(self) -> int:
        """Forget every job whose time is over; how many. Raises `DatabaseUnreachableError`."""
        count = 0
        while True:
            rows = await self._connection.fetch(
                PURGE,
                retention=self._settings.job_retention,
                dead_retention=self._settings.dead_job_retention,
                limit=self._batch,
            )
            count += len(rows)
            if len(rows) < self._batch:
                break
        if count:
            log.info("Finished jobs were forgotten", extra={"jobs": count})
        return count

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
