"""What people ask of the jobs: pages of them, how many there are, and which a command is about.

Nothing here changes anything, and all of it is read as the owner. Called by the command line.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.jobs.table import JobState

# Ids begin with their time: the newest first, and a page goes on below the last id of the one
# before it.
PAGE = text("""
SELECT id, state, task, queue, attempt, max_attempts, crashes, progress, run_at, created_at,
       finished_at, worker, last_error
  FROM bedplate.jobs
 WHERE state = ANY(CAST(:states AS text[]))
   AND (CAST(:task AS text) IS NULL OR task = CAST(:task AS text))
   AND (CAST(:queue AS text) IS NULL OR queue = CAST(:queue AS text))
   AND (CAST(:below AS uuid) IS NULL OR id < CAST(:below AS uuid))
 ORDER BY id DESC
 LIMIT :limit
""")

COUNT = text("""
SELECT state, count(*) AS jobs
  FROM bedplate.jobs
 WHERE state = ANY(CAST(:states AS text[]))
   AND (CAST(:task AS text) IS NULL OR task = CAST(:task AS text))
   AND (CAST(:queue AS text) IS NULL OR queue = CAST(:queue AS text))
 GROUP BY state
""")

# The oldest first: what was left behind longest goes on first.
IDS = text("""
SELECT id
  FROM bedplate.jobs
 WHERE state = ANY(CAST(:states AS text[]))
   AND (CAST(:task AS text) IS NULL OR task = CAST(:task AS text))
   AND (CAST(:queue AS text) IS NULL OR queue = CAST(:queue AS text))
   AND (CAST(:above AS uuid) IS NULL OR id > CAST(:above AS uuid))
 ORDER BY id
 LIMIT :limit
""")

STATES_OF = text("SELECT id, state FROM bedplate.jobs WHERE id = ANY(CAST(:ids AS uuid[]))")


@dataclass(frozen=True)
class JobFilter:
    """Which jobs: in one of these states (none: in any), of this task, of this queue."""

    states: tuple[JobState, ...] = ()
    task: str | None = None
    queue: str | None = None

    def values(self) -> dict[str, Any]:
        """As the parameters of the statements above."""
        states = self.states or tuple(JobState)
        return {**asdict(self), "states": [each.value for each in states]}


async def page(
    connection: AsyncConnection, wanted: JobFilter, *, below: UUID | None = None, limit: int
) -> list[Mapping[str, Any]]:
    """Jobs, newest first, from the one before `below` on."""
    values = {**wanted.values(), "below": below, "limit": limit}
    return [dict(row) for row in (await connection.execute(PAGE, values)).mappings()]


async def count(connection: AsyncConnection, wanted: JobFilter) -> dict[str, int]:
    """How many jobs there are, by state; states that none is in are left out."""
    rows = (await connection.execute(COUNT, wanted.values())).all()
    return {row.state: row.jobs for row in rows}


async def ids(
    connection: AsyncConnection, wanted: JobFilter, *, above: UUID | None = None, limit: int
) -> list[UUID]:
    """Ids, oldest first, from the one after `above` on."""
    values = {**wanted.values(), "above": above, "limit": limit}
    return list((await connection.execute(IDS, values)).scalars())


async def states_of(connection: AsyncConnection, job_ids: list[UUID]) -> dict[UUID, JobState]:
    """The state of each of these jobs that there is."""
    rows = await connection.execute(STATES_OF, {"ids": job_ids})
    return {row.id: JobState(row.state) for row in rows}
