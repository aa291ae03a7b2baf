"""Run all that is due, in this process: the relay and the worker are the real ones.

    drained = await drain(layer, [send_receipt, ship])
    assert drained.tasks == ["shop.send_receipt", "shop.ship"]

Only the broker between the two is left out: what the relay would publish is handed to the worker
here. Jobs that enqueue jobs are followed; a failed one is run again at once, without its backoff,
until it succeeds or is dead. Messages for the cache are delivered on the way.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from bedplate.delivery.broker import Broker, WakeUp
from bedplate.delivery.relay import Relay
from bedplate.errors import JobError, UnknownTaskError
from bedplate.jobs import ledger
from bedplate.jobs.tasks import Task, registry_of
from bedplate.jobs.worker import Outcome, Worker
from bedplate.layer import DataLayer

# A test that needs more has a job that enqueues itself without an end.
DEFAULT_LIMIT = 100


@dataclass(frozen=True)
class Run:
    """One attempt at one job, how it ended, and what its task raised."""

    job_id: UUID
    task: str
    outcome: Outcome
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.task} {self.outcome}" + (f": {self.error!r}" if self.error else "")


@dataclass
class Drained:
    """What was done: each attempt in its order, and how many messages were delivered."""

    runs: list[Run] = field(default_factory=list)
    messages: int = 0

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that ran, in order."""
        return [run.task for run in self.runs]


async def drain(
    layer: DataLayer,
    tasks: Iterable[Task[Any]],
    *,
    raise_errors: bool = True,
    limit: int = DEFAULT_LIMIT,
) -> Drained:
    """Run every due job of these tasks to its end, and deliver every due message.

    What a task raises is raised here, after the attempt was written down as failed; without
    `raise_errors` it is in the runs. Raises `UnknownTaskError` for a job of another task, and
    `AssertionError` after `limit` attempts, which lists them.
    """
    drained = Drained()
    broker = _Handing()
    noted = _Noted()
    registry = registry_of(noted.noting(task) for task in tasks)
    relay = Relay(layer, broker)
    async with (
        broker,
        Worker(
            layer,
            layer.owner_database,
            registry,
            lease=layer.settings.lease,
            backoff=timedelta(0),
            stopping_grace=timedelta(0),
        ) as worker,
    ):
        while True:
            delivered = await relay.drain()
            drained.messages += delivered.messages
            if not broker.waiting_jobs:
                return drained
            while broker.waiting_jobs:
                _check_limit(drained.runs, limit)
                job_id = broker.waiting_jobs.popleft()
                outcome = await worker.run(job_id)
                run = await _describe(layer, job_id, outcome, noted)
                drained.runs.append(run)
                if raise_errors:
                    await _raise_error(layer, run)


class _Handing(Broker):
    """Stands where the broker is: keeps what it is to publish for the worker of this process."""

    def __init__(self) -> None:
        super().__init__("redis://not-used")
        self.waiting_jobs: deque[UUID] = deque()

    async def publish(self, messages: Sequence[WakeUp]) -> None:
        self.waiting_jobs.extend(message.job_id for message in messages)

    async def waiting(self, system: str, queue: str) -> int:  # noqa: ARG002 - the broker's signature
        return len(self.waiting_jobs)


class _Noted:
    """What the tasks raised, by job: the worker writes it down and goes on."""

    def __init__(self) -> None:
        self.errors: dict[UUID, BaseException] = {}

    def noting(self, task: Task[Any]) -> Task[Any]:
        """The same task, whose errors are noted here."""
        function: Callable[..., Awaitable[None]] = task.function

        @wraps(function)
        async def run(job: Any, **arguments: Any) -> None:
            self.errors.pop(job.id, None)
            try:
                await function(job, **arguments)
            except BaseException as error:
                self.errors[job.id] = error
                raise

        return replace(task, function=run)


async def _describe(layer: DataLayer, job_id: UUID, outcome: Outcome, noted: _Noted) -> Run:
    async with layer.owner_database.engine.connect() as connection:
        job = await ledger.load(connection, job_id)
    return Run(job_id, job.task, outcome, noted.errors.pop(job_id, None))


async def _raise_error(layer: DataLayer, run: Run) -> None:
    if run.error is not None and run.outcome is not Outcome.SUCCEEDED:
        run.error.add_note(f"raised by task {run.task}, job {run.job_id}: {run.outcome}")
        raise run.error
    if run.outcome is Outcome.PUT_BACK:
        raise UnknownTaskError(
            f"a job of task {run.task!r} is due, and drain was given no such task",
            hint="Give it all tasks of the system: drain(layer, system.tasks).",
            task=run.task,
        )
    if run.outcome is Outcome.DEAD:
        async with layer.owner_database.engine.connect() as connection:
            job = await ledger.load(connection, run.job_id)
        raise JobError(f"job {run.job_id} of task {run.task} is dead: {job.last_error}")


def _check_limit(runs: Sequence[Run], limit: int) -> None:
    if len(runs) >= limit:
        last = "\n".join(f"  {run}" for run in runs[-10:])
        raise AssertionError(
            f"{limit} jobs ran, and more are due: does one enqueue itself?\nthe last were:\n{last}"
        )
