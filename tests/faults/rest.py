"""At rest: relay and workers have nothing to do, and no transaction is open. By condition."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import text

from bedplate.errors import BedplateError
from bedplate.layer import DataLayer

T = TypeVar("T")
# A bound for failure only.
PATIENCE = timedelta(seconds=60)
POLL_SECONDS = 0.02

# Jobs that are scheduled for later are at rest; those that wait for a retry are not.
LEFT_TO_DO = text("""
SELECT what, count(*) AS count
  FROM (SELECT 'job ' || state || ' ' || task AS what
          FROM bedplate.jobs
         WHERE state IN ('sent', 'running')
            OR (state = 'ready' AND (run_at <= now() OR attempt > 0 OR last_error IS NOT NULL))
         UNION ALL
        SELECT 'message ' || kind
          FROM bedplate.outbox
         WHERE dead_at IS NULL
         UNION ALL
        SELECT 'transaction of ' || application_name || ': ' || query
          FROM pg_stat_activity
         WHERE datname = current_database()
           AND pid <> pg_backend_pid()
           AND state LIKE 'idle in transaction%') AS left_to_do
 GROUP BY what
 ORDER BY what
""")


async def until(
    look: Callable[[], Awaitable[T | None]], what: str, *, patience: timedelta = PATIENCE
) -> T:
    """What `look` returns once it is neither None nor False; fails after `patience`."""
    deadline = time.monotonic() + patience.total_seconds()
    while time.monotonic() < deadline:
        found = await look()
        if found is not None and found is not False:
            return found
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(f"not within {patience.total_seconds():g} s: {what}")


async def at_rest(layer: DataLayer, *, patience: timedelta = PATIENCE) -> None:
    """Wait until nothing is left to do; fails saying what is. Bears a database that comes back."""
    left: dict[str, int] = {}

    async def look() -> bool:
        try:
            async with (
                layer.owner_database.translated(),
                layer.owner_database.engine.connect() as connection,
            ):
                found = await connection.execute(LEFT_TO_DO)
                left.clear()
                left.update({row.what: row.count for row in found})
        except BedplateError as error:
            left.clear()
            left[f"the database: {error}"] = 1
        return not left

    try:
        await until(look, "at rest", patience=patience)
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {left}") from None
