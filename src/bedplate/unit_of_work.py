"""THE transaction: rows, jobs, invalidations and files that commit together or not at all.

    async with layer.transaction() as uow:
        uow.add(order)
        scan = await uow.store_file(upload, NewFile("scan.pdf", "application/pdf"))
        job_id = uow.enqueue(send_receipt, order.id)
        uow.invalidate(f"order:{order.id}")

Jobs and messages are kept until the end and written, one statement each, just before the COMMIT.
`transact` is the only place that commits a request. Cancelled before the COMMIT was sent, it rolls
back; during it, the outcome is awaited and stands. Either way the connection is given back first.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Executable, Result, ScalarResult
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.delivery import outbox
from bedplate.errors import DatabaseUnreachableError
from bedplate.failpoints import failpoint
from bedplate.files import stored_files
from bedplate.files.file_store import FileStore, NewFile, Sent, no_files
from bedplate.files.source import Source
from bedplate.files.stored_files import StoredFile
from bedplate.jobs import ledger
from bedplate.jobs.tasks import Task
from bedplate.rows.database import Database
from bedplate.rows.ids import new_id
from bedplate.transaction_end import (
    TransactionSession,
    close_session,
    discard,
    ended,
    uninterrupted,
)

log = logging.getLogger("bedplate.unit_of_work")

P = ParamSpec("P")
T = TypeVar("T")

LastStep = Callable[[AsyncSession], Awaitable[None]]

# COMMIT cannot be cancelled, so it must end by itself when the server is gone.
COMMIT_TIMEOUT = timedelta(seconds=30)


class UnitOfWork:
    """What is to commit together. Made by `DataLayer.transaction()`, used by one task at a time."""

    def __init__(self, session: AsyncSession, files: Callable[[], FileStore] = no_files) -> None:
        self._session = session
        self._files = files
        self._jobs: list[ledger.PendingJob] = []
        self._messages: list[outbox.PendingMessage] = []
        self._last_steps: list[LastStep] = []
        self._rollback_reason: str | None = None
        self._is_ended = False

    @property
    def session(self) -> AsyncSession:
        """SQLAlchemy's session of this transaction. It is not to be committed by hand."""
        self._check_open()
        return self._session

    @property
    def is_rollback_only(self) -> bool:
        """Whether the end will roll back, see `mark_rollback`."""
        return self._rollback_reason is not None

    @property
    def has_deliveries(self) -> bool:
        """Whether jobs or messages wait in here for the commit."""
        return bool(self._jobs or self._messages)

    @property
    def pending_jobs(self) -> tuple[ledger.PendingJob, ...]:
        """The jobs that the commit would add."""
        return tuple(self._jobs)

    @property
    def pending_messages(self) -> tuple[outbox.PendingMessage, ...]:
        """The messages that the commit would add."""
        return tuple(self._messages)

    def add(self, row: object) -> None:
        """Add a row to the session."""
        self.session.add(row)

    def add_all(self, rows: Iterable[object]) -> None:
        """Add rows to the session."""
        self.session.add_all(rows)

    async def delete(self, row: object) -> None:
        """Delete a row at the next flush."""
        await self.session.delete(row)

    async def flush(self) -> None:
        """Send the session's changes to the database, inside the transaction."""
        await self.session.flush()

    async def get(self, entity: type[T], key: Any) -> T | None:
        """The row with this primary key, or None."""
        return await self.session.get(entity, key)

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        """Execute a statement in the transaction."""
        return await self.session.execute(statement, parameters)

    async def scalars(self, statement: Executable, parameters: Any = None) -> ScalarResult[Any]:
        """Execute a statement in the transaction: the first column of each row."""
        return await self.session.scalars(statement, parameters)

    def enqueue(self, task: Task[P], /, *args: P.args, **kwargs: P.kwargs) -> UUID:
        """Add a job, which exists once this transaction has committed. Returns its id.

        Raises `ArgumentsError` when the arguments do not fit. With a dedup key whose live job
        exists at the commit nothing is inserted, and the id returned names no job: the live one is
        found by `ledger.find_live(session, task.name, dedup_key)`.
        """
        self._check_open()
        job = ledger.PendingJob(
            id=new_id(),
            task=task.name,
            queue=task.queue,
            arguments=task.encode(*args, **kwargs),
            arguments_version=task.args_version,
            priority=task.options.priority,
            max_attempts=task.max_attempts,
            run_at=task.options.run_at,
            dedup_key=task.options.dedup_key,
            group_key=task.options.group_key,
        )
        self._jobs.append(job)
        return job.id

    def invalidate(self, *keys: str) -> None:
        """Have the cache forget these keys once this transaction has committed."""
        self._check_open()
        self._messages.extend(
            outbox.PendingMessage(id=new_id(), kind=outbox.INVALIDATE, key=key)
            for key in dict.fromkeys(keys)
        )

    async def store_file(
        self, source: Source, file: NewFile, *, limit_bytes: int | None = None
    ) -> StoredFile:
        """Bring a file's bytes into the bucket now, and commit the file with this transaction.

        Rolled back, cancelled or killed, nothing of it stays: a sweep takes the object and its
        pending row. Raises `FileTooLargeError`, `StorageUnreachableError`, `UploadEndedError`.
        """
        self._check_open()
        sent = await self._files().send(source, file, limit_bytes=limit_bytes)
        return await self._commit_file(sent)

    async def complete_upload(self, file_id: UUID) -> StoredFile:
        """Commit, with this transaction, a file that a browser was let put into the bucket.

        Raises `ObjectNotFoundError`, `FileMismatchError`, `UploadEndedError`, `NotFoundError`.
        """
        return await self._commit_file(await self._files().inspect_upload(self.session, file_id))

    async def delete_file(self, file_id: UUID) -> None:
        """Delete a file with this transaction; its object goes after the retention.

        A file that is deleted already is no error. Raises `NotFoundError`.
        """
        await stored_files.delete(self.session, file_id)

    def before_commit(self, step: LastStep) -> None:
        """Call `step(session)` after all else is written, just before the COMMIT.

        For what locks a row that others wait for, such as a job's own. What it raises rolls back.
        """
        self._check_open()
        self._last_steps.append(step)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that may fail alone: an exception leaves nothing of the block, and is raised on.

        Jobs, messages and last steps of the block go with its rows.
        """
        counts = len(self._jobs), len(self._messages), len(self._last_steps)
        try:
            async with self.session.begin_nested():
                yield
        except BaseException:
            del self._jobs[counts[0] :]
            del self._messages[counts[1] :]
            del self._last_steps[counts[2] :]
            raise

    def mark_rollback(self, reason: str) -> None:
        """Have the end roll back instead of committing, without an exception."""
        self._check_open()
        self._rollback_reason = reason

    async def _commit_file(self, sent: Sent) -> StoredFile:
        return await stored_files.commit(
            self.session, sent.id, size_bytes=sent.size_bytes, sha256=sent.sha256
        )

    async def _write_pending(self) -> None:
        self._is_ended = True
        await self._session.flush()
        if self._jobs:
            await ledger.insert(self._session, self._jobs)
        if self._messages:
            await outbox.insert(self._session, self._messages)
        for step in self._last_steps:
            await step(self._session)

    def _check_open(self) -> None:
        if self._is_ended:
            raise ended()


@asynccontextmanager
async def transact(
    database: Database,
    after_commit: Callable[[UnitOfWork], None],
    files: Callable[[], FileStore] = no_files,
) -> AsyncIterator[UnitOfWork]:
    """One transaction as a context manager: commits at the end of the block, rolls back on errors.

    `after_commit` is told at once, even when the caller was cancelled meanwhile: it must neither
    block nor raise. `files` is asked when the first file is stored.
    """
    session = AsyncSession(
        database.engine, expire_on_commit=False, sync_session_class=TransactionSession
    )
    uow = UnitOfWork(session, files)
    with database.translating():
        try:
            yield uow
            if not uow.is_rollback_only:
                await uow._write_pending()  # noqa: SLF001 - the unit of work's own other half
                # Whoever was cancelled before the COMMIT still rolls back.
                await asyncio.sleep(0)
        except BaseException:
            await _abandon(uow)
            raise
        if uow.is_rollback_only:
            await _abandon(uow)
        else:
            await uninterrupted(_commit(uow, after_commit))


async def _abandon(uow: UnitOfWork) -> None:
    uow._is_ended = True  # noqa: SLF001 - the unit of work's own other half
    await uninterrupted(discard(uow._session))  # noqa: SLF001 - as above


async def _commit(uow: UnitOfWork, after_commit: Callable[[UnitOfWork], None]) -> None:
    """The critical section: from here on the outcome is the server's, and is awaited."""
    session = uow._session  # noqa: SLF001 - the unit of work's own other half
    limit = asyncio.timeout(COMMIT_TIMEOUT.total_seconds())
    try:
        failpoint("tx.before_commit")
        async with limit:
            await session.commit()
    except BaseException as error:
        await discard(session)
        if limit.expired():
            raise _unanswered() from error
        raise
    failpoint("tx.after_commit")
    await close_session(session)
    after_commit(uow)


def _unanswered() -> DatabaseUnreachableError:
    return DatabaseUnreachableError(
        f"PostgreSQL did not answer COMMIT within {COMMIT_TIMEOUT.total_seconds():g} s",
        hint="Whether it was committed is not known: read before doing it again.",
        reason="commit_unanswered",
    )
