"""What a test says of jobs, invalidations and files: of an open unit of work, or of what committed.

    async with layer.transaction() as uow:
        order = await place_order(uow, "tea")
        await assert_enqueued(uow, send_receipt, order.id)  # it would commit
    await assert_enqueued(layer, send_receipt, order.id)  # it did

Each looks at what is really there: the unit of work's own list, or the tables, as their owner. A
failure lists what was found instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ParamSpec
from uuid import UUID

from sqlalchemy import select, text

from bedplate.delivery.outbox import outbox
from bedplate.errors import NotFoundError
from bedplate.files import stored_files
from bedplate.files.stored_files import FileState, StoredFile
from bedplate.jobs.table import jobs
from bedplate.jobs.tasks import Task, TaskOptions
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork

P = ParamSpec("P")

Where = UnitOfWork | DataLayer

# The kinds of messages that have a cache forget something.
CACHE_KINDS = "cache."
# More lines than this hide what they are to show.
LONGEST_LIST = 20

READ_FILES = text("SELECT id FROM bedplate.stored_files ORDER BY id")


@dataclass(frozen=True)
class EnqueuedJob:
    """A job as a test sees it. `state` is None while its unit of work has not committed."""

    id: UUID
    task: str
    arguments: dict[str, Any]
    options: TaskOptions
    state: str | None = None

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        options = "".join(
            f" {name}={value}" for name, value in _given(self.options).items() if name != "run_at"
        )
        return f"{self.task}({arguments}){options} {self.state or 'not committed'}"


async def enqueued(where: Where, task: Task[Any] | None = None) -> list[EnqueuedJob]:
    """The jobs of a unit of work, or of the ledger in whatever state; of one task, or of all."""
    found = _pending(where) if isinstance(where, UnitOfWork) else await _in_ledger(where)
    return [job for job in found if task is None or job.task == task.name]


async def assert_enqueued(
    where: Where, task: Task[P], /, *args: P.args, **kwargs: P.kwargs
) -> EnqueuedJob:
    """There is a job of this task with these arguments; returns the newest.

    With `task.with_options(…)` it must have those options, too. In the ledger a job that has ended
    counts as well. Raises `AssertionError`, and `ArgumentsError` when the arguments do not fit.
    """
    arguments = task.encode(*args, **kwargs)
    everything = await enqueued(where)
    wanted = EnqueuedJob(UUID(int=0), task.name, arguments, task.options, "enqueued")
    for job in reversed(everything):
        if job.task == task.name and job.arguments == arguments and _has(job, task.options):
            return job
    raise AssertionError(f"not there: {wanted}\n{_listing('enqueued', everything)}")


async def assert_not_enqueued(where: Where, task: Task[Any] | None = None) -> None:
    """There is no job of this task, or none at all. Raises `AssertionError`."""
    found = await enqueued(where, task)
    if found:
        what = "a job" if task is None else task.name
        raise AssertionError(f"{what} was enqueued\n{_listing('enqueued', found)}")


async def invalidated(where: Where) -> list[str]:
    """The keys that a unit of work invalidates, or that the outbox still has to tell the cache."""
    if isinstance(where, UnitOfWork):
        messages = where.pending_messages
        return [each.key for each in messages if each.kind.startswith(CACHE_KINDS)]
    query = (
        select(outbox.c.key)
        .where(outbox.c.kind.startswith(CACHE_KINDS))
        .order_by(outbox.c.created_at, outbox.c.id)
    )
    async with where.owner_database.engine.connect() as connection:
        return list((await connection.execute(query)).scalars())


async def assert_invalidated(where: Where, *keys: str) -> None:
    """The cache is to forget all of these keys. Raises `AssertionError`.

    The outbox forgets what it has told: look before `drain`, or before a relay runs.
    """
    found = await invalidated(where)
    missing = [key for key in keys if key not in found]
    if missing:
        raise AssertionError(f"not invalidated: {missing}\n{_listing('invalidated', found)}")


async def assert_stored(
    where: Where, file: UUID | str, *, content: bytes | None = None
) -> StoredFile:
    """A file of this id or name is committed, or would be; returns it.

    Committed, its object is read and compared with the row, and with `content` if given.
    Raises `AssertionError`, `FileMismatchError`, `ObjectNotFoundError`.
    """
    everything = await _files(where)
    found = [
        each
        for each in everything
        if file in (each.id, each.file_name) and each.state is FileState.COMMITTED
    ]
    if not found:
        raise AssertionError(f"not stored: {file}\n{_list_files(everything)}")
    if isinstance(where, DataLayer):
        data = await where.files.read(found[-1])
        if content is not None and data != content:
            raise AssertionError(
                f"{file} has {len(data)} other bytes than the {len(content)} given"
            )
    return found[-1]


async def assert_not_stored(where: Where, file: UUID | str) -> None:
    """No file of this id or name is committed: none was, or it is deleted.

    Raises `AssertionError`.
    """
    everything = await _files(where)
    if any(
        file in (each.id, each.file_name) and each.state is FileState.COMMITTED
        for each in everything
    ):
        raise AssertionError(f"stored: {file}\n{_list_files(everything)}")


def _pending(uow: UnitOfWork) -> list[EnqueuedJob]:
    return [
        EnqueuedJob(
            job.id,
            job.task,
            dict(job.arguments),
            TaskOptions(job.run_at, job.dedup_key, job.group_key, job.priority),
        )
        for job in uow.pending_jobs
    ]


async def _in_ledger(layer: DataLayer) -> list[EnqueuedJob]:
    query = select(
        jobs.c.id,
        jobs.c.task,
        jobs.c.arguments,
        jobs.c.run_at,
        jobs.c.dedup_key,
        jobs.c.group_key,
        jobs.c.priority,
        jobs.c.state,
    ).order_by(jobs.c.created_at, jobs.c.id)
    async with layer.owner_database.engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    return [
        EnqueuedJob(
            row.id,
            row.task,
            row.arguments,
            TaskOptions(row.run_at, row.dedup_key, row.group_key, row.priority),
            row.state,
        )
        for row in rows
    ]


async def _files(where: Where) -> list[StoredFile]:
    if isinstance(where, UnitOfWork):
        return await _load_files(where.session)
    async with where.owner_database.engine.connect() as connection:
        return await _load_files(connection)


async def _load_files(connection: stored_files.Connection) -> list[StoredFile]:
    found = []
    for file_id in (await connection.execute(READ_FILES)).scalars():
        try:
            found.append(await stored_files.load(connection, file_id))
        except NotFoundError:
            # Forgotten by a sweep meanwhile.
            continue
    return found


def _has(job: EnqueuedJob, wanted: TaskOptions) -> bool:
    return all(getattr(job.options, name) == value for name, value in _given(wanted).items())


def _given(options: TaskOptions) -> dict[str, str | int | datetime]:
    """The options that are not left as they are."""
    default = TaskOptions()
    named = {name: getattr(options, name) for name in TaskOptions.__dataclass_fields__}
    return {name: value for name, value in named.items() if value != getattr(default, name)}


def _list_files(files: Sequence[StoredFile]) -> str:
    return _listing("stored", [f"{each.id} {each.file_name} {each.state}" for each in files])


def _listing(what: str, found: Sequence[object]) -> str:
    if not found:
        return f"{what}: nothing"
    lines = [f"  {each}" for each in found[-LONGEST_LIST:]]
    left_out = len(found) - len(lines)
    head = f"{what}:" if not left_out else f"{what}, the last {len(lines)} of {len(found)}:"
    return "\n".join([head, *lines])
