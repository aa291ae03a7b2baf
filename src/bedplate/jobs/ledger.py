"""The ledger: every change of a job's row, one function each.

Functions take the session or connection of the caller's transaction and never begin or commit,
so that a job changes together with what it is about. What a worker changes carries its fence;
when that is no longer the row's, `LeaseLostError` is raised and the caller must roll back. See
`table.py` for the states, `statements.py` for the SQL.

In a transaction of a task, `hold`, `progress` and `finish` come last, just before the commit:
they lock the job's row, and the heartbeat waits for that lock.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from bedplate.errors import LeaseLostError, NotFoundError
from bedplate.jobs import statements
from bedplate.jobs.job import Job as Job
from bedplate.jobs.job import Lane as Lane
from bedplate.jobs.job import PendingJob as PendingJob
from bedplate.jobs.job import RescuedJob as RescuedJob
from bedplate.jobs.job import SentJob as SentJob
from bedplate.jobs.job import encode as encode
from bedplate.jobs.job import encode_one as encode_one
from bedplate.jobs.table import JobState as JobState
from bedplate.jobs.table import jobs as jobs
from bedplate.rows.driver import AnyConnection, fetch

Connection = AsyncSession | AsyncConnection

# A job that was sent and not claimed within this time is offered again: its message was lost, or
# every worker is busy for longer, and then the second message finds nothing to claim.
SENT_DEADLINE = timedelta(seconds=30)
# Sent and not yet claimed, per queue: enough to keep every worker busy, few enough that a job of
# higher priority soon gets its turn and that a lost Redis is refilled within a deadline.
WINDOW = 1000
# A job whose worker went silent this often is poison: it kills what runs it.
MAX_CRASHES = 3
# The last line of an error says what happened; a whole traceback would bloat the table.
LONGEST_ERROR = 2000


async def insert(connection: Connection, pending: Sequence[PendingJob]) -> frozenset[UUID]:
    """Insert jobs, in one statement. Returns the ids that are in.

    One is left out when a live job of its tenant has its task and dedup key.
    """
    rows = await fetch(connection, statements.INSERT, jobs=encode(pending))
    return frozenset(row[0] for row in rows)


async def ready_lanes(connection: AnyConnection) -> list[Lane]:
    """Where ready jobs are, due or not."""
    return [Lane(*row) for row in await fetch(connection, statements.READY_LANES)]


async def take_ready(
    connection: AnyConnection,
    limit: int,
    *,
    lanes: Collection[Lane] | None = None,
    deadline: timedelta = SENT_DEADLINE,
    since: datetime | None = None,
) -> list[SentJob]:
    """Mark up to `limit` due jobs as sent, by priority, then oldest first. Commit, then publish.

    Of `lanes`, by default of all. `since`: none that was due before, see `delivery.progress`.
    """
    if lanes is None:
        lanes = await ready_lanes(connection)
    if not lanes:
        return []
    rows = await fetch(
        connection,
        statements.TAKE_READY,
        queues=[lane.queue for lane in lanes],
        priorities=[lane.priority for lane in lanes],
        limit=limit,
        deadline=deadline,
        since=since,
    )
    return [SentJob(*row) for row in rows]


async def rescue_expired(
    connection: AnyConnection, limit: int = 200, *, max_crashes: int = MAX_CRASHES
) -> list[RescuedJob]:
    """Offer jobs again whose deadline ran out; one that crashed too often is dead."""
    rows = await fetch(connection, statements.RESCUE_EXPIRED, limit=limit, max_crashes=max_crashes)
    return [RescuedJob(row["id"], JobState(row["state"]), row["is_crash"]) for row in rows]


async def hold(connection: Connection, job_id: UUID, fence: int) -> None:
    """Check that this attempt owns the job, and keep it so until the caller's transaction ends.

    Raises `LeaseLostError`: another worker took the job over, or it was cancelled.
    """
    await _guarded(connection, statements.HOLD, job_id, fence)


async def progress(connection: Connection, job_id: UUID, fence: int, percent: int) -> None:
    """Set how far the job is, 0 to 100. Raises `LeaseLostError`."""
    await _guarded(connection, statements.PROGRESS, job_id, fence, percent=percent)


async def finish(connection: Connection, job_id: UUID, fence: int) -> None:
    """The job has succeeded: in the transaction that writes its result. Raises `LeaseLostError`."""
    await _guarded(connection, statements.FINISH, job_id, fence)


async def fail(
    connection: Connection,
    job_id: UUID,
    fence: int,
    *,
    error: str,
    backoff: timedelta,
    is_final: bool = False,
) -> JobState:
    """The attempt failed: ready again after `backoff`, or dead when it was the last one.

    `is_final`: trying again cannot help. Returns the new state. Raises `LeaseLostError`.
    """
    state = await _guarded(
        connection,
        statements.FAIL,
        job_id,
        fence,
        error=_storable(error),
        backoff=backoff,
        is_final=is_final,
    )
    return JobState(state)


async def hand_back(connection: Connection, job_id: UUID, fence: int) -> None:
    """Offer the job again at once, without spending an attempt. Raises `LeaseLostError`."""
    await _guarded(connection, statements.HAND_BACK, job_id, fence)


async def cancel(connection: Connection, job_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Cancel those that are live; a running one stops at its next check. Returns their ids."""
    found = await connection.execute(statements.CANCEL, {"ids": list(job_ids)})
    return frozenset(found.scalars())


async def retry(connection: Connection, job_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Put dead jobs back, with all their attempts. Returns the ids of those that were."""
    found = await connection.execute(statements.RETRY, {"ids": list(job_ids)})
    return frozenset(found.scalars())


async def load(connection: Connection, job_id: UUID) -> Job:
    """One job. Raises `NotFoundError`."""
    found = await connection.execute(statements.LOAD, {"id": job_id})
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no job {job_id}", job_id=job_id)
    fields: dict[str, Any] = dict(row)
    fields["state"] = JobState(fields["state"])
    for name in ("arguments", "trace_context"):
        if isinstance(fields[name], str):
            fields[name] = json.loads(fields[name])
    return Job(**fields)


async def why_ended(connection: Connection, job_id: UUID) -> str | None:
    """Why a job has ended without success; None while it is live, or when it has succeeded.

    A job whose worker was killed too often is buried by the relay, and cannot say so by itself.
    """
    try:
        job = await load(connection, job_id)
    except NotFoundError as error:
        return error.message
    if job.state not in {JobState.DEAD, JobState.CANCELLED}:
        return None
    return job.last_error or f"the job is {job.state}"


async def find_live(
    connection: Connection, task: str, dedup_key: str, *, tenant: str | None = None
) -> UUID | None:
    """The live job of this task and dedup key: what an enqueue with that key would run into.

    Of `tenant`, by default of the transaction's.
    """
    parameters = {"task": task, "dedup_key": dedup_key, "tenant": tenant}
    found: UUID | None = await connection.scalar(statements.FIND_LIVE, parameters)
    return found


async def ready_lag(connection: AnyConnection) -> timedelta | None:
    """How long the next job for the relay has been due; None when none is.

    A queue of which half a window is sent waits for its workers, not for the relay.
    """
    rows = await fetch(connection, statements.READY_LAG, enough=WINDOW // 2)
    seconds = rows[0][0]
    return None if seconds is None else timedelta(seconds=seconds)


async def _guarded(
    connection: Connection, statement: TextClause, job_id: UUID, fence: int, **parameters: Any
) -> Any:
    found = await connection.execute(statement, {"id": job_id, "fence": fence, **parameters})
    row = found.one_or_none()
    if row is None:
        raise await _lost(connection, job_id, fence)
    return row[0]


async def _lost(connection: Connection, job_id: UUID, fence: int) -> LeaseLostError:
    row = (await connection.execute(statements.LOAD, {"id": job_id})).one_or_none()
    state = JobState(row.state) if row is not None else None
    where = "is gone" if row is None else f"is {row.state} at fence {row.fence}"
    return LeaseLostError(
        f"job {job_id} {where}; this attempt had fence {fence}",
        hint="Nothing of this attempt is committed; the job is run by another, or was cancelled.",
        job_id=job_id,
        fence=fence,
        state=state,
    )


def _storable(error: str) -> str:
    return error.replace("\0", "")[:LONGEST_ERROR]
