"""The unit of work: rows, jobs, invalidations and files that commit together or not at all.

    async with layer.transaction() as uow:
        uow.add(order)
        scan = await uow.store_file(upload, NewFile("scan.pdf", "application/pdf"))
        job_id = uow.enqueue(send_receipt, order.id)
        uow.invalidate(f"order:{order.id}")

Jobs and messages are kept until the end and written in one statement, just before the COMMIT;
`transaction.py` begins and ends it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Executable, Result, ScalarResult
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate import pending
from bedplate.cache.channels import Publication
from bedplate.cache.keys import bounded
from bedplate.current import running_task
from bedplate.delivery import inbox, outbox
from bedplate.files import stored_files
from bedplate.files.file_store import FileStore, NewFile, Sent, no_files
from bedplate.files.source import Source
from bedplate.files.stored_files import StoredFile
from bedplate.guard import Mode
from bedplate.jobs import ledger, trace
from bedplate.jobs.tasks import Task
from bedplate.rows.ids import new_id
from bedplate.rows.tenancy import NO_TERMS, Terms
from bedplate.rows.transaction_id import Mark
from bedplate.transaction_end import ended, foreign_file, has_written, shared, swallowed

P = ParamSpec("P")
T = TypeVar("T")

LastStep = Callable[[AsyncSession], Awaitable[None]]


class UnitOfWork:
    """What is to commit together. Made by `DataLayer.transaction()`, used by one task at a time."""

    def __init__(
        self,
        session: AsyncSession,
        files: Callable[[], FileStore] = no_files,
        terms: Terms = NO_TERMS,
        *,
        tells_log: bool = False,
        guard: Mode = "raise",
    ) -> None:
        self.guard: Mode = guard
        self._session = session
        self._files = files
        self.terms = terms
        self._jobs: list[ledger.PendingJob] = []
        self._messages: list[outbox.PendingMessage] = []
        self._last_steps: list[LastStep] = []
        self._rollback_reason: str | None = None
        self._failure: BaseException | None = None
        self._user: asyncio.Task[object] | None = None
        self._is_ended = False
        self._tells_log = tells_log
        # The transaction's number, known once all is written; None when nothing was.
        self.mark: Mark | None = None

    @property
    def session(self) -> AsyncSession:
        """SQLAlchemy's session of this transaction. It is not to be committed by hand."""
        self._check_open()
        return self._session

    @property
    def tenant(self) -> str | None:
        """Whose transaction this is: its jobs and files belong to that tenant."""
        return self.terms.tenant

    @property
    def actor(self) -> str | None:
        """Who acts in it."""
        return self.terms.actor

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
        with self._turn() as session:
            await session.delete(row)

    async def flush(self) -> None:
        """Send the session's changes to the database, inside the transaction."""
        with self._turn() as session:
            await session.flush()

    async def get(self, entity: type[T], key: Any) -> T | None:
        """The row with this primary key, or None."""
        with self._turn() as session:
            return await session.get(entity, key)

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        """Execute a statement in the transaction."""
        with self._turn() as session:
            return await session.execute(statement, parameters)

    async def scalars(self, statement: Executable, parameters: Any = None) -> ScalarResult[Any]:
        """Execute a statement in the transaction: the first column of each row."""
        with self._turn() as session:
            return await session.scalars(statement, parameters)

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
            trace_context=trace.current(),
            priority=task.options.priority,
            max_attempts=task.max_attempts,
            run_at=task.options.run_at,
            dedup_key=task.options.dedup_key,
            group_key=task.options.group_key,
            tenant=self.tenant,
            actor=self.actor,
        )
        self._jobs.append(job)
        return job.id

    def invalidate(self, *keys: str, tags: Iterable[str] = ()) -> None:
        """Have the cache forget these keys, and all entries with these tags, once this commits."""
        self._check_open()
        payload = None if self.tenant is None else {"tenant": self.tenant}
        for kind, names in ((outbox.INVALIDATE, keys), (outbox.INVALIDATE_TAG, tags)):
            self._messages.extend(
                outbox.PendingMessage(id=new_id(), kind=kind, key=bounded(name), payload=payload)
                for name in dict.fromkeys(names)
            )

    def publish(self, channel: str, text: str, *, position: int | None = None) -> None:
        """Say a text on a channel of this tenant, once this commits: at once, and by the relay.

        So whoever listens hears it at least once, mostly twice; see `cache.channels` for positions.
        """
        self._check_open()
        publication = Publication(channel, text, self.tenant, position)
        publication.check()
        self._messages.append(outbox.publish(publication))

    async def store_file(
        self, source: Source, file: NewFile, *, limit_bytes: int | None = None
    ) -> StoredFile:
        """Bring a file's bytes into the bucket now, and commit the file with this transaction.

        Rolled back, cancelled or killed, nothing of it stays: a sweep takes the object and its
        pending row. Raises `FileTooLargeError`, `StorageUnreachableError`, `UploadEndedError`.
        """
        with self._turn():
            if file.tenant not in (None, self.tenant):
                raise foreign_file(file.tenant, self.tenant)
            file = replace(file, tenant=self.tenant)
            sent = await self._files().send(source, file, limit_bytes=limit_bytes)
            return await self._commit_file(sent)

    async def complete_upload(self, file_id: UUID) -> StoredFile:
        """Commit, with this transaction, a file that a browser was let put into the bucket.

        Raises `ObjectNotFoundError`, `FileMismatchError`, `UploadEndedError`, `NotFoundError`.
        """
        with self._turn() as session:
            return await self._commit_file(await self._files().inspect_upload(session, file_id))

    async def delete_file(self, file_id: UUID) -> None:
        """Delete a file with this transaction; its object goes after the retention.

        A file that is deleted already is no error. Raises `NotFoundError`.
        """
        with self._turn() as session:
            await stored_files.delete(session, file_id)

    async def first_time(
        self, consumer: str, message_id: str, *, memory: timedelta = inbox.MESSAGE_MEMORY
    ) -> bool:
        """Whether a message from elsewhere, such as a webhook's, has not acted before.

        True once for each consumer, tenant and id (at most 255 characters): it is written down by
        this transaction's commit. Another transaction with the same one is waited for.
        """
        with self._turn() as session:
            return await inbox.note(
                session, consumer, message_id, tenant=self.tenant, memory=memory
            )

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
        failure = self._failure
        try:
            async with self.session.begin_nested():
                yield
        except BaseException:
            del self._jobs[counts[0] :]
            del self._messages[counts[1] :]
            del self._last_steps[counts[2] :]
            self._failure = failure
            raise

    def mark_rollback(self, reason: str) -> None:
        """Have the end roll back instead of committing, without an exception."""
        self._check_open()
        self._rollback_reason = reason

    @contextmanager
    def joined(self) -> Iterator[None]:
        """What an inner block of the same task runs in: its failure is remembered to the end."""
        try:
            yield
        except BaseException as error:
            self._failure = self._failure or error
            raise

    async def write_pending(self) -> None:
        """Write what waits for the COMMIT, which follows. Called by `transact`, at the end."""
        if self._failure is not None:
            raise swallowed(self._failure) from self._failure
        with self._turn() as session:
            self.end()
            await session.flush()
            if self.has_deliveries:
                self.mark = await pending.write(
                    session, self._jobs, self._messages, tells_log=self._tells_log
                )
            elif self._last_steps or has_written(session):
                self.mark = await pending.read_mark(
                    session, will_write=bool(self._last_steps), tells_log=self._tells_log
                )
            for step in self._last_steps:
                await step(session)

    def end(self) -> "asyncio.Task[object] | None":
        """Refuse every further use. Returns a task that is still in the middle of one."""
        self._is_ended = True
        return self._user

    async def _commit_file(self, sent: Sent) -> StoredFile:
        return await stored_files.commit(
            self._session, sent.id, size_bytes=sent.size_bytes, sha256=sent.sha256
        )

    @contextmanager
    def _turn(self) -> Iterator[AsyncSession]:
        """One task at a time: a connection takes one statement after the other."""
        self._check_open()
        task = running_task()
        if self._user is not None and self._user is not task:
            raise shared()
        outer, self._user = self._user, task
        try:
            yield self._session
        finally:
            self._user = outer

    def _check_open(self) -> None:
        if self._is_ended:
            raise ended()
