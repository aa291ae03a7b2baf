"""What the tests of delivery see of the database, and the one place where they wait for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text

from bedplate.jobs import ledger
from bedplate.jobs.ledger import Job, JobState
from bedplate.jobs.tasks import Task
from bedplate.layer import DataLayer

T = TypeVar("T")
# A bound for failure only: on a busy machine a worker's start alone takes twenty seconds.
TIMEOUT = timedelta(seconds=60)


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """What `look` returns once it is no longer None; fails after a bounded time, saying `what`."""
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while time.monotonic() < deadline:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {TIMEOUT.total_seconds():g} s: {what}")


class LedgerView:
    """The ledger and the effects, as the owner sees them."""

    def __init__(self, layer: DataLayer) -> None:
        self.layer = layer
        self._engine = layer.owner_database.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def enqueue(self, task: Task[Any], *args: Any) -> UUID:
        """Commit one job."""
        async with self.layer.transaction() as uow:
            return uow.enqueue(task, *args)

    async def load(self, job_id: UUID) -> Job:
        """The job's row."""
        async with self._engine.connect() as connection:
            return await ledger.load(connection, job_id)

    async def until_state(self, job_id: UUID, *states: JobState) -> Job:
        """The job once it is in one of the states."""
        seen: list[Job] = []

        async def look() -> Job | None:
            seen[:] = [await self.load(job_id)]
            return seen[0] if seen[0].state in states else None

        try:
            return await until(look, f"job {job_id} becomes {states}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen}") from None

    async def until_effect(self, job_id: UUID, note: str) -> None:
        """Wait until the effect is committed."""

        async def look() -> bool | None:
            return True if note in await self.effects(job_id) else None

        await until(look, f"job {job_id} writes {note!r}")

    async def effects(self, job_id: UUID) -> list[str]:
        """What the job committed, in order."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT note FROM delivery_effects WHERE job_id = :id ORDER BY ctid"),
                {"id": job_id},
            )
            return list(rows.scalars())

    async def execute(self, statement: str, **values: Any) -> None:
        """Change the database behind everybody's back."""
        async with self._engine.connect() as connection:
            await connection.execute(text(statement), values)

    async def scalar(self, query: str) -> Any:
        """The one value of a query."""
        async with self._engine.connect() as connection:
            return (await connection.execute(text(query))).scalar_one()
