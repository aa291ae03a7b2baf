"""What `bedplate jobs` does in the ledger: looks, puts back, cancels, in batches of bounded size.

Imports SQLAlchemy: only commands that do the work import this. Called by `commands/jobs.py`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.cli import owner
from bedplate.cli.owner import changing, reading
from bedplate.delivery.wakeup import NOTIFY
from bedplate.errors import NotFoundError
from bedplate.jobs import ledger, listing
from bedplate.jobs.ledger import Job
from bedplate.jobs.listing import JobFilter
from bedplate.jobs.table import JobState
from bedplate.layer import DataLayer

# One transaction each: a relay that sends jobs meanwhile does not wait for a million of them.
BATCH = 1000

Change = Callable[[AsyncConnection, Iterable[UUID]], Awaitable[frozenset[UUID]]]


def opened(system: str, variables: Mapping[str, str]) -> AbstractAsyncContextManager[DataLayer]:
    """A layer that works as the owner. Raises `PendingMigrationError`."""
    return owner.opened(system, variables, table="jobs", what="jobs")


async def load_page(
    system: str,
    variables: Mapping[str, str],
    wanted: JobFilter,
    *,
    below: UUID | None,
    limit: int,
) -> tuple[list[Mapping[str, Any]], UUID | None]:
    """A page of jobs, and what the next one is below, if there is one."""
    async with opened(system, variables) as layer, reading(layer) as connection:
        found = await listing.page(connection, wanted, below=below, limit=limit + 1)
    page = found[:limit]
    return page, page[-1]["id"] if len(found) > limit else None


async def load_one(system: str, variables: Mapping[str, str], job_id: UUID) -> Job:
    """One job. Raises `NotFoundError`."""
    async with opened(system, variables) as layer, reading(layer) as connection:
        try:
            return await ledger.load(connection, job_id)
        except NotFoundError as error:
            error.hint = "bedplate jobs list; finished ones go after BEDPLATE_JOB_RETENTION"
            raise


async def retry(layer: DataLayer, job_ids: list[UUID]) -> frozenset[UUID]:
    """Put dead jobs back, and wake who runs them. Returns the ids of those that were dead."""
    return await _change(layer, ledger.retry, job_ids)


async def cancel(layer: DataLayer, job_ids: list[UUID]) -> frozenset[UUID]:
    """Cancel live jobs. Returns the ids of those that were live."""
    return await _change(layer, ledger.cancel, job_ids)


async def count(layer: DataLayer, wanted: JobFilter) -> int:
    """How many jobs there are of a kind."""
    async with reading(layer) as connection:
        return sum((await listing.count(connection, wanted)).values())


async def batches(layer: DataLayer, wanted: JobFilter) -> AsyncIterator[list[UUID]]:
    """The ids of all jobs of a kind, oldest first."""
    above: UUID | None = None
    while True:
        async with reading(layer) as connection:
            found = await listing.ids(connection, wanted, above=above, limit=BATCH)
        if found:
            yield found
        if len(found) < BATCH:
            return
        above = found[-1]


async def states_of(layer: DataLayer, job_ids: list[UUID]) -> dict[UUID, JobState]:
    """The state of each of these jobs that there is."""
    async with reading(layer) as connection:
        return await listing.states_of(connection, job_ids)


async def _change(layer: DataLayer, change: Change, job_ids: list[UUID]) -> frozenset[UUID]:
    async with changing(layer) as connection:
        changed = await change(connection, job_ids)
    if changed:
        async with changing(layer) as connection:
            await connection.execute(text(NOTIFY))
    return changed
