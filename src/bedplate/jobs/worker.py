"""The worker: takes one job from the ledger, runs its task, and writes down how it ended.

    ready, sent ──claim──► running ──┬─ returned ──────────► succeeded
                                     ├─ raised ────────────► ready after a backoff, or dead
                                     ├─ told to stop ──────► ready at once, no attempt spent
                                     ├─ task unknown here ─► ready later, no attempt spent
                                     └─ lease lost ────────► whatever its new owner makes of it

It knows no broker: `celery.py` hands it ids, and any id may be handed to it any number of times.
The ledger is changed as the schema's owner, the task's own units of work run as the application's
role.
"""

import asyncio
import logging
import os
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from bedplate.errors import (
    ArgumentsError,
    LeaseLostError,
    PoolExhaustedError,
    UnknownTaskError,
    UnreachableError,
)
from bedplate.failpoints import failpoint
from bedplate.jobs import ledger, statements, trace
from bedplate.jobs.leases import Claim, Heartbeat, autocommit, claim, put_back
from bedplate.jobs.ledger import JobState
from bedplate.jobs.ledger_connection import LedgerConnection
from bedplate.jobs.run import JobRun, describe
from bedplate.jobs.tasks import Task, TaskRegistry
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.rows.tenancy import working_for

log = logging.getLogger("bedplate.jobs.worker")

# Retries wait 1, 2, 4 … seconds, at most ten minutes, and up to half of it less by chance, so that
# jobs that failed together do not come back together.
BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(minutes=10)
# A job of newer code: other workers may have it, and a deploy is over in minutes.
UNKNOWN_TASK_DELAY = timedelta(seconds=10)
# What is nearly done when the worker is told to stop may end; the rest is handed back.
STOPPING_GRACE = timedelta(milliseconds=500)
# Seconds to wait for a database that went away under a job, whose end is still to be written; a
# restart takes less, and the lease bounds it anyhow.
RECONNECT_PAUSES = (0.1, 0.3, 1.0, 3.0)

T = TypeVar("T")


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    DEAD = "dead"
    DROPPED = "dropped"
    PUT_BACK = "put_back"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    CANCELLED = "cancelled"


class ProcessExitError(Exception):
    """The task asked for the end of the process; caused by its SystemExit or KeyboardInterrupt."""


class Worker:
    """Runs the jobs of one layer in one event loop, any number at a time."""

    def __init__(
        self,
        layer: DataLayer,
        owner_database: Database,
        registry: TaskRegistry,
        *,
        lease: timedelta = timedelta(seconds=15),
        backoff: timedelta = BACKOFF,
        unknown_task_delay: timedelta = UNKNOWN_TASK_DELAY,
        stopping_grace: timedelta = STOPPING_GRACE,
    ) -> None:
        self._layer = layer
        self._owner = owner_database
        self._statements = autocommit(owner_database.engine)
        self._registry = registry
        self._lease = lease
        self._backoff = backoff
        self._unknown_task_delay = unknown_task_delay
        self._stopping_grace = stopping_grace
        self._ledger = LedgerConnection(owner_database)
        self._heartbeat = Heartbeat(owner_database.connect, lease)
        self._name = worker_name()
        self._bodies: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.outcomes: Counter[Outcome] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the heartbeat and close its and our connection; the rest belongs to the caller."""
        await self._ledger.close()
        await asyncio.to_thread(self._heartbeat.close)

    def stop(self) -> None:
        """Hand back what runs, after a short grace, and all that comes. From the loop's thread."""
        self._is_stopping = True
        for body in self._bodies:
            self._cancel_soon(body)

    async def run(self, job_id: UUID) -> Outcome:
        """Run one attempt at the job, if it is there to be run.

        Raises a cancellation or `ProcessExitError` once the job was handed back, and
        `DatabaseUnreachableError`, when the lease will run out instead.
        """
        held = await claim(self._ledger, job_id, self._name, self._lease)
        if held is None:
            # A duplicate, a message from before a restart, or a forged one.
            log.info("A message names no job to run", extra={"job_id": str(job_id)})
            return self._counted(Outcome.DROPPED)
        return await self.run_claimed(held)

    async def run_claimed(self, held: Claim) -> Outcome:
        """Run the attempt that was claimed for this worker's lease. Raises as `run` does."""
        failpoint("worker.after_claim")
        outcome = self._counted(await self._run_known(held))
        if held.group_key is not None:
            # The group's next job has waited for this one.
            self._layer.wakeup.request()
        return outcome

    async def _run_known(self, held: Claim) -> Outcome:
        try:
            task = self._registry[held.task]
            if held.arguments_version > task.args_version:
                raise UnknownTaskError(
                    f"task {held.task} has arguments of version {held.arguments_version}, "
                    f"and this process knows {task.args_version}"
                )
        except UnknownTaskError as error:
            return await self._put_back(held, error)
        try:
            arguments = task.decode_version(held.arguments_version, held.arguments)
        except ArgumentsError as error:
            return await self._fail(held, error, is_final=True)
        return await self._run_task(task, held, arguments)

    async def _run_task(self, task: Task[Any], held: Claim, arguments: dict[str, Any]) -> Outcome:
        job = JobRun(self._layer, held)
        lease = task.lease or self._lease
        body = asyncio.create_task(
            _run_body(task.function(job, **arguments), held), name=str(held.id)
        )
        loop = asyncio.get_running_loop()

        def lost(state: JobState | None) -> None:
            job.note_lost(state)
            loop.call_soon_threadsafe(body.cancel)

        self._bodies.add(body)
        body.add_done_callback(self._bodies.discard)
        if self._is_stopping:
            self._cancel_soon(body)
        # The claim was for our own lease: the first beat must come before that runs out.
        with self._heartbeat.keeping(held, lease, lost, claimed_for=self._lease):
            try:
                await asyncio.wait({body})
            except asyncio.CancelledError:
                body.cancel()
                await asyncio.wait({body})
                await asyncio.shield(self._end(job, held, body))
                raise
            return await self._end(job, held, body)

    def _cancel_soon(self, body: asyncio.Task[None]) -> None:
        """What is nearly done may end; a task that is done takes no notice."""
        delay = self._stopping_grace.total_seconds()
        asyncio.get_running_loop().call_later(delay, body.cancel)

    async def _end(self, job: JobRun, held: Claim, body: asyncio.Task[None]) -> Outcome:
        """Write down how the body ended, unless it did so itself or the job is another's."""
        error = asyncio.CancelledError() if body.cancelled() else body.exception()
        try:
            outcome = await self._write_end(job, held, error)
        except LeaseLostError as lease_error:
            job.note_lost(lease_error.data.get("state"))
            outcome = Outcome.CANCELLED if job.is_cancelled else Outcome.LOST
            log.warning("A job was no longer ours", extra=_facts(held, outcome=outcome))
        if isinstance(error, ProcessExitError):
            raise error
        return outcome

    async def _write_end(self, job: JobRun, held: Claim, error: BaseException | None) -> Outcome:
        if job.is_finished:
            return Outcome.SUCCEEDED
        if job.is_lost:
            raise LeaseLostError(
                f"job {held.id} was lost while it ran",
                state=JobState.CANCELLED if job.is_cancelled else None,
            )
        if error is None:
            await self._finish(held)
            return Outcome.SUCCEEDED
        if isinstance(error, asyncio.CancelledError | ProcessExitError):
            await self._change(ledger.hand_back, held)
            self._layer.wakeup.request()
            log.info("A job was handed back", extra=_facts(held))
            return Outcome.HANDED_BACK
        if isinstance(error, LeaseLostError):
            raise error
        return await self._fail(held, error)

    async def _finish(self, held: Claim) -> None:
        async def finish() -> None:
            if await self._ledger.fetch(statements.FINISH, id=held.id, fence=held.fence) is None:
                # The ledger's own way finds out what became of the job, and says so.
                async with self._statements.connect() as connection:
                    await ledger.finish(connection, held.id, held.fence)

        await self._until_reached(finish)

    async def _fail(self, held: Claim, error: BaseException, *, is_final: bool = False) -> Outcome:
        pause = self._backoff * 2 ** min(held.attempt - 1, 20)
        pause = min(pause, LONGEST_BACKOFF) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        state = await self._change(
            ledger.fail, held, error=describe(error), backoff=pause, is_final=is_final
        )
        outcome = Outcome.DEAD if state is JobState.DEAD else Outcome.RETRIED
        log.warning("A job failed", extra=_facts(held, outcome=outcome), exc_info=error)
        return outcome

    async def _put_back(self, held: Claim, error: UnknownTaskError) -> Outcome:
        await self._change(put_back, held, reason=describe(error), delay=self._unknown_task_delay)
        log.warning("A job's task is unknown to this worker", extra=_facts(held))
        return Outcome.PUT_BACK

    async def _change(self, change: Callable[..., Awaitable[T]], held: Claim, **values: Any) -> T:
        """One guarded change of the job's row."""

        async def apply() -> T:
            async with self._statements.connect() as connection:
                return await change(connection, held.id, held.fence, **values)

        return await self._until_reached(apply)

    async def _until_reached(self, change: Callable[[], Awaitable[T]]) -> T:
        """Wait for a database that is away for seconds: else the run was for nothing."""
        for pause in RECONNECT_PAUSES:
            try:
                async with self._owner.translated():
                    return await change()
            except (UnreachableError, PoolExhaustedError):
                await asyncio.sleep(pause)
        async with self._owner.translated():
            return await change()

    def _counted(self, outcome: Outcome) -> Outcome:
        self.outcomes[outcome] += 1
        return outcome


def worker_name() -> str:
    """How the ledger names this process: `<host>:<pid>`."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def _run_body(task: Awaitable[None], held: Claim) -> None:
    try:
        with trace.running(held.trace_context), working_for(held.tenant, held.actor):
            await task
    except (SystemExit, KeyboardInterrupt) as error:
        # Left alone they would end the loop before the job is handed back.
        raise ProcessExitError from error


def _facts(held: Claim, **more: object) -> dict[str, object]:
    return {"job_id": str(held.id), "task": held.task, "attempt": held.attempt, **more}
