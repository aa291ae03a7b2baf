"""What the sample system's database holds, as the owner sees it on connections of its own."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from bedplate.jobs import ledger
from bedplate.jobs.ledger import Job, JobState
from bedplate.jobs.tasks import Task
from bedplate.layer import DataLayer
from tests.faults.rest import at_rest, until

COUNTS = """
SELECT (SELECT count(*) FROM fault_orders),
       (SELECT count(*) FROM bedplate.jobs),
       (SELECT count(*) FROM bedplate.stored_files WHERE state = 'committed')
"""


class Look:
    """Looks from outside, and waits for what is to come."""

    def __init__(self, layer: DataLayer) -> None:
        self.layer = layer
        self._engine = layer.owner_database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def enqueue(self, task: Task[Any], *args: Any) -> UUID:
        """Commit one job."""
        async with self.layer.transaction() as uow:
            return uow.enqueue(task, *args)

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """What a query of a test returns: a value, or a tuple, for each row."""
        async with self._engine.connect() as connection:
            found = await connection.execute(text(query), values)
            rows = found.all() if found.returns_rows else []
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    async def counts(self) -> tuple[int, int, int]:
        """How many orders, jobs and committed files there are."""
        (found,) = await self.rows(COUNTS)
        orders, jobs, files = found
        return orders, jobs, files

    async def job(self, job_id: UUID) -> Job:
        """A job's row."""
        async with self._engine.connect() as connection:
            return await ledger.load(connection, job_id)

    async def until_state(self, job_id: UUID, *states: JobState) -> Job:
        """The job, once it is in one of the states."""

        async def look() -> Job | None:
            job = await self.job(job_id)
            return job if job.state in states else None

        try:
            return await until(look, f"job {job_id} is {' or '.join(states)}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {await self.job(job_id)}") from None

    async def effects(self, job_id: UUID) -> list[str]:
        """What the job committed, in order."""
        query = "SELECT note FROM fault_effects WHERE job_id = :id ORDER BY id"
        return await self.rows(query, id=job_id)

    async def until_effect(self, job_id: UUID, note: str) -> None:
        """Wait until the job has committed it."""

        async def look() -> bool:
            return note in await self.effects(job_id)

        await until(look, f"job {job_id} writes {note!r}")

    async def at_rest(self) -> None:
        """Wait until relay and workers have nothing to do."""
        await at_rest(self.layer)
