"""One run of a task: what the task is given to work with.

    @task()
    async def translate(job: JobRun, translation_id: UUID) -> None:
        async with job.transaction() as uow: ...  # any number of committed steps
        async with job.finishing() as uow: ...  # the result and the job's success in one COMMIT

Both are units of work of the layer, with one difference: before they commit they check, under a
lock, that this attempt still owns the job. So a worker that was stopped past its lease commits
nothing, and what `finishing` writes exists exactly once.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.cache.view import TenantCache
from bedplate.errors import LeaseLostError, TransactionError
from bedplate.failpoints import failpoint
from bedplate.jobs import ledger
from bedplate.jobs.leases import Claim
from bedplate.jobs.ledger import JobState
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork
from bedplate.urls import redact

LONGEST_MESSAGE = 500


class JobRun:
    """A running attempt. Made by the worker; its task must not keep it after it returned.

    What it opens runs as the job's tenant and actor: those of the transaction that enqueued it.
    """

    def __init__(self, layer: DataLayer, held: Claim) -> None:
        self.layer = layer
        self.id = held.id
        self.task = held.task
        self.attempt = held.attempt
        self.max_attempts = held.max_attempts
        self.fence = held.fence
        self.tenant = held.tenant
        self.actor = held.actor
        self._is_finished = False
        self._is_lost = False
        self._is_cancelled = False
        self._percent: int | None = None

    def __repr__(self) -> str:
        return f"<JobRun {self.task} {self.id} attempt {self.attempt} fence {self.fence}>"

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job is dead when this attempt fails."""
        return self.attempt >= self.max_attempts

    @property
    def is_finished(self) -> bool:
        """Whether `finishing` has committed."""
        return self._is_finished

    @property
    def is_lost(self) -> bool:
        """Whether the job is known to be no longer ours: nothing can be committed any more."""
        return self._is_lost

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled; known at the next heartbeat or commit at the latest."""
        return self._is_cancelled

    @property
    def cache(self) -> TenantCache:
        """`layer.cache` as the job's tenant."""
        return self.layer.cache.of(self.tenant)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work that commits only while this attempt owns the job.

        Raises `LeaseLostError`, and nothing is committed.
        """
        self._refuse_lost()
        async with self.layer.transaction(tenant=self.tenant, actor=self.actor) as uow:
            yield uow
            uow.before_commit(self._hold)

    def reading(self) -> AbstractAsyncContextManager[AsyncSession]:
        """`layer.reading()` as the job's tenant."""
        return self.layer.reading(tenant=self.tenant, actor=self.actor)

    @asynccontextmanager
    async def finishing(self) -> AsyncIterator[UnitOfWork]:
        """As `transaction`, and the job has succeeded by the same COMMIT.

        Raises `TransactionError` inside another transaction, whose end would decide instead.
        """
        self._refuse_lost()
        if self.layer.current is not None:
            raise TransactionError(
                "job.finishing() inside an open transaction: the outer one would commit it",
                hint="Write the result inside `finishing` alone, after the other block has ended.",
            )
        async with self.layer.transaction(tenant=self.tenant, actor=self.actor) as uow:
            yield uow
            uow.before_commit(self._finish)
        self._is_finished = not uow.is_rollback_only
        failpoint("job.after_finish")

    async def progress(self, percent: int) -> None:
        """Say how far the job is, 0 to 100: written by the next `transaction` that commits."""
        if not 0 <= percent <= 100:
            raise ValueError(f"progress is {percent}, and must be from 0 to 100")
        self._percent = percent

    def note_lost(self, state: JobState | None) -> None:
        """The job is no longer ours, but in `state` (None: its row is gone)."""
        self._is_cancelled = state is JobState.CANCELLED
        self._is_lost = True

    async def _hold(self, session: AsyncSession) -> None:
        percent, self._percent = self._percent, None
        with self._noting_loss():
            if percent is None:
                await ledger.hold(session, self.id, self.fence)
            else:
                await ledger.progress(session, self.id, self.fence, percent)

    async def _finish(self, session: AsyncSession) -> None:
        failpoint("job.before_finish")
        with self._noting_loss():
            await ledger.finish(session, self.id, self.fence)

    def _refuse_lost(self) -> None:
        if self._is_lost:
            raise LeaseLostError(
                f"job {self.id} is no longer run here (fence {self.fence})",
                hint="Return from the task: another worker owns the job, or it was cancelled.",
            )

    @contextmanager
    def _noting_loss(self) -> Iterator[None]:
        try:
            yield
        except LeaseLostError as error:
            self.note_lost(error.data.get("state"))
            raise


def describe(error: BaseException) -> str:
    """An error in one line, to be stored: its type and how its message begins, passwords masked.

    The lines after the first hold values: PostgreSQL's DETAIL, pydantic's input, SQL. A NUL, which
    no text in PostgreSQL holds, is left out.
    """
    first = str(error).partition("\n")[0].replace("\0", "")[:LONGEST_MESSAGE]
    return f"{type(error).__name__}: {redact(first)}" if first else type(error).__name__
