"""The ledger's guards: each change hits exactly the job, state and fence that it means."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import LeaseLostError, NotFoundError
from bedplate.jobs import ledger, statements
from bedplate.jobs.ledger import Job, JobState, PendingJob
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id

CLAIM = text("""
UPDATE bedplate.jobs
   SET state = 'running', fence = fence + 1, attempt = attempt + 1, worker = 'w:1',
       lease_until = now() + interval '15 s'
 WHERE id = :id
""")
EXPIRE = text("UPDATE bedplate.jobs SET lease_until = now() - interval '1 s' WHERE id = :id")

Change = Callable[[AsyncConnection, UUID, int], Coroutine[Any, Any, Any]]


async def insert(layer: DataLayer, **options: Any) -> UUID:
    """Commit one job."""
    pending = PendingJob(id=new_id(), task="t.t", queue="q", arguments={}, **options)
    async with layer.owner_database.engine.begin() as connection:
        await ledger.insert(connection, [pending])
    return pending.id


async def claim(layer: DataLayer, job_id: UUID) -> int:
    """Take the job as a worker does. Returns the fence."""
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(CLAIM, {"id": job_id})
    return (await load(layer, job_id)).fence


async def expire(layer: DataLayer, job_id: UUID) -> None:
    """Let the deadline of a sent or running job run out."""
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(EXPIRE, {"id": job_id})


async def load(layer: DataLayer, job_id: UUID) -> Job:
    """The committed job."""
    async with layer.owner_database.engine.connect() as connection:
        return await ledger.load(connection, job_id)


async def take(layer: DataLayer, limit: int = 10) -> list[UUID]:
    """The ids that a relay would publish."""
    async with layer.owner_database.engine.begin() as connection:
        return [job.id for job in await ledger.take_ready(connection, limit)]


async def rescue(layer: DataLayer) -> list[ledger.RescuedJob]:
    """What a relay would offer again."""
    async with layer.owner_database.engine.begin() as connection:
        return await ledger.rescue_expired(connection)


async def fail(connection: AsyncConnection, job_id: UUID, fence: int) -> JobState:
    """A failure that may be tried again in a minute."""
    minute = timedelta(minutes=1)
    return await ledger.fail(connection, job_id, fence, error="boom", backoff=minute)


async def progress(connection: AsyncConnection, job_id: UUID, fence: int) -> None:
    """Half of it is done."""
    await ledger.progress(connection, job_id, fence, 50)


CHANGES = [ledger.hold, progress, ledger.finish, fail, ledger.hand_back]


@pytest.mark.parametrize("change", CHANGES)
async def test_an_older_fence_changes_nothing(layer: DataLayer, change: Change) -> None:
    """A worker that was stopped past its lease wakes up and goes on as if it owned the job."""
    job_id = await insert(layer)
    old = await claim(layer, job_id)
    await claim(layer, job_id)
    before = await load(layer, job_id)
    with pytest.raises(LeaseLostError, match=f"(?m)fence {old}$"):
        async with layer.owner_database.engine.begin() as connection:
            await change(connection, job_id, old)
    assert await load(layer, job_id) == before


@pytest.mark.parametrize("change", CHANGES)
async def test_a_cancelled_job_refuses_its_worker(layer: DataLayer, change: Change) -> None:
    """A deleted document's translation must not be written any more."""
    job_id = await insert(layer)
    fence = await claim(layer, job_id)
    async with layer.transaction() as uow:
        assert await ledger.cancel(uow.session, [job_id]) == {job_id}
    with pytest.raises(LeaseLostError) as caught:
        async with layer.owner_database.engine.begin() as connection:
            await change(connection, job_id, fence)
    assert caught.value.data["state"] is JobState.CANCELLED


async def test_finish_and_progress_of_the_owner_are_written(layer: DataLayer) -> None:
    """The other half of the guard: the right fence gets through."""
    job_id = await insert(layer)
    fence = await claim(layer, job_id)
    async with layer.owner_database.engine.begin() as connection:
        await progress(connection, job_id, fence)
        await ledger.hold(connection, job_id, fence)
    assert (await load(layer, job_id)).progress == 50
    async with layer.owner_database.engine.begin() as connection:
        await ledger.finish(connection, job_id, fence)
    job = await load(layer, job_id)
    assert (job.state, job.progress, job.lease_until) == (JobState.SUCCEEDED, 100, None)
    assert job.finished_at is not None


async def test_the_serving_role_may_hold_and_finish(layer: DataLayer) -> None:
    """A task finishes its job in its own transaction, which runs as the application's role."""
    job_id = await insert(layer)
    fence = await claim(layer, job_id)
    async with layer.transaction() as uow:
        await ledger.hold(uow.session, job_id, fence)
        await ledger.finish(uow.session, job_id, fence)
    assert (await load(layer, job_id)).state is JobState.SUCCEEDED


async def test_a_failed_attempt_is_ready_again_after_its_backoff(layer: DataLayer) -> None:
    """Sooner it would meet the same trouble; as `sent` nobody would look at it."""
    job_id = await insert(layer, max_attempts=2)
    fence = await claim(layer, job_id)
    async with layer.owner_database.engine.begin() as connection:
        assert await fail(connection, job_id, fence) is JobState.READY
    job = await load(layer, job_id)
    assert (job.state, job.worker, job.last_error) == (JobState.READY, None, "boom")
    assert job.run_at - job.created_at >= timedelta(minutes=1)
    assert await take(layer) == []


async def test_the_last_attempt_that_fails_is_dead_until_retried(layer: DataLayer) -> None:
    """Dead is visible and final, and `retry` puts it back with all its attempts."""
    job_id = await insert(layer, max_attempts=1)
    fence = await claim(layer, job_id)
    async with layer.owner_database.engine.begin() as connection:
        assert await fail(connection, job_id, fence) is JobState.DEAD
    job = await load(layer, job_id)
    assert (job.worker, job.finished_at is None) == ("w:1", False)
    async with layer.owner_database.engine.begin() as connection:
        assert await ledger.retry(connection, [job_id]) == {job_id}
    job = await load(layer, job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.READY, 0, 0)
    assert await take(layer) == [job_id]


async def test_a_final_failure_spends_all_attempts_at_once(layer: DataLayer) -> None:
    """Arguments that do not decode will not decode the fifth time either."""
    job_id = await insert(layer, max_attempts=5)
    fence = await claim(layer, job_id)
    async with layer.owner_database.engine.begin() as connection:
        state = await ledger.fail(
            connection, job_id, fence, error="bad\0", backoff=timedelta(0), is_final=True
        )
    assert state is JobState.DEAD
    assert (await load(layer, job_id)).last_error == "bad"


async def test_a_job_that_is_handed_back_spends_no_attempt(layer: DataLayer) -> None:
    """A deploy must not use up the attempts of what it interrupts."""
    job_id = await insert(layer, max_attempts=1)
    fence = await claim(layer, job_id)
    async with layer.owner_database.engine.begin() as connection:
        await ledger.hand_back(connection, job_id, fence)
    job = await load(layer, job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.READY, 0, 0)
    assert await take(layer) == [job_id]


async def test_ready_jobs_are_taken_by_priority_then_oldest_first(layer: DataLayer) -> None:
    """And marked with a deadline, so that a lost message is noticed."""
    ids = [await insert(layer, priority=priority) for priority in (0, 5, 0)]
    assert await take(layer, 2) == [ids[1], ids[0]]
    assert await take(layer, 2) == [ids[2]]
    job = await load(layer, ids[0])
    assert job.state is JobState.SENT
    assert job.lease_until is not None


async def test_jobs_of_the_future_are_left(layer: DataLayer) -> None:
    """`run_at` is a promise not to run before."""
    job = await load(layer, await insert(layer))
    later = job.created_at + timedelta(hours=1)
    await insert(layer, run_at=later, priority=9)
    assert await take(layer) == [job.id]


async def test_two_relays_never_take_the_same_job(layer: DataLayer) -> None:
    """Both would publish it; and the one that waits for a lock would stop the other."""
    ids = {await insert(layer) for _ in range(6)}
    engine = layer.owner_database.engine
    async with engine.begin() as one, engine.begin() as other:
        first = {job.id for job in await ledger.take_ready(one, 4)}
        second = {job.id for job in await ledger.take_ready(other, 4)}
    assert len(first) == 4
    assert first | second == ids
    assert not first & second


async def test_of_a_group_one_job_is_under_way_at_a_time(layer: DataLayer) -> None:
    """The others wait as ready, so that no worker is woken in vain."""
    ids = [await insert(layer, group_key="g") for _ in range(3)]
    alone = await insert(layer)
    assert await take(layer) == [ids[0], alone]
    assert await take(layer) == []
    fence = await claim(layer, ids[0])
    assert await take(layer) == []
    async with layer.owner_database.engine.begin() as connection:
        await ledger.finish(connection, ids[0], fence)
    assert await take(layer) == [ids[1]]


async def test_two_running_jobs_of_a_group_are_impossible(layer: DataLayer) -> None:
    """A constraint and not a query: two claims at the same moment both see the group free."""
    ids = [await insert(layer, group_key="g") for _ in range(2)]
    await claim(layer, ids[0])
    with pytest.raises(IntegrityError, match="uq_jobs_group_key_running"):
        await claim(layer, ids[1])


async def test_a_lost_message_is_offered_again_without_counting(layer: DataLayer) -> None:
    """Redis may be lost whole; that is no crash of the job."""
    job_id = await insert(layer)
    await take(layer)
    assert await rescue(layer) == []
    await expire(layer, job_id)
    assert await rescue(layer) == [ledger.RescuedJob(job_id, JobState.READY, is_crash=False)]
    job = await load(layer, job_id)
    assert (job.crashes, job.last_error, job.lease_until) == (0, None, None)
    assert await take(layer) == [job_id]


async def test_a_job_that_kills_its_workers_is_dead_after_three_crashes(layer: DataLayer) -> None:
    """Poison would otherwise kill one worker after another for ever."""
    job_id = await insert(layer)
    states: list[tuple[JobState, bool]] = []
    for _ in range(3):
        await claim(layer, job_id)
        await expire(layer, job_id)
        states.extend((each.state, each.is_crash) for each in await rescue(layer))
    assert states == [(JobState.READY, True), (JobState.READY, True), (JobState.DEAD, True)]
    job = await load(layer, job_id)
    assert (job.crashes, job.worker) == (3, "w:1")
    assert job.last_error == "worker w:1 went silent, crash 3"


async def test_a_rescuer_waits_for_no_one_who_is_committing(layer: DataLayer) -> None:
    """A worker that holds its job's row commits in peace, and the rescuer takes the next round."""
    job_id = await insert(layer)
    fence = await claim(layer, job_id)
    await expire(layer, job_id)
    async with layer.owner_database.engine.begin() as connection:
        await ledger.hold(connection, job_id, fence)
        async with asyncio.timeout(5):
            assert await rescue(layer) == []
        await ledger.finish(connection, job_id, fence)
    assert await rescue(layer) == []
    assert (await load(layer, job_id)).state is JobState.SUCCEEDED


async def test_cancel_leaves_finished_jobs_alone(layer: DataLayer) -> None:
    """What has succeeded has succeeded; unknown ids are no error."""
    done, ready = await insert(layer), await insert(layer)
    fence = await claim(layer, done)
    async with layer.owner_database.engine.begin() as connection:
        await ledger.finish(connection, done, fence)
    async with layer.transaction() as uow:
        assert await ledger.cancel(uow.session, [done, ready, new_id()]) == {ready}
    assert (await load(layer, done)).state is JobState.SUCCEEDED
    assert await take(layer) == []


async def test_cancelling_is_undone_by_a_rollback(layer: DataLayer) -> None:
    """It belongs to the transaction that deletes the document."""
    job_id = await insert(layer)
    async with layer.transaction() as uow:
        await ledger.cancel(uow.session, [job_id])
        uow.mark_rollback("the document stays")
    assert (await load(layer, job_id)).state is JobState.READY


async def test_a_dead_job_stays_dead_while_its_dedup_key_is_taken(layer: DataLayer) -> None:
    """Putting it back would break the constraint, and the whole batch with it."""
    dead = await insert(layer, dedup_key="k", max_attempts=1)
    fence = await claim(layer, dead)
    async with layer.owner_database.engine.begin() as connection:
        await fail(connection, dead, fence)
    await insert(layer, dedup_key="k")
    async with layer.owner_database.engine.begin() as connection:
        assert await ledger.retry(connection, [dead]) == frozenset()


async def test_another_tenants_live_dedup_key_keeps_no_dead_job_dead(layer: DataLayer) -> None:
    """Each tenant has its own keys, also when a job is put back by hand."""
    dead = await insert(layer, dedup_key="k", max_attempts=1, tenant="acme")
    fence = await claim(layer, dead)
    async with layer.owner_database.engine.begin() as connection:
        await fail(connection, dead, fence)
    for tenant in ("bob", None):
        await insert(layer, dedup_key="k", tenant=tenant)
    async with layer.owner_database.engine.begin() as connection:
        assert await ledger.retry(connection, [dead]) == frozenset({dead})


async def test_the_lag_is_that_of_the_next_job(layer: DataLayer) -> None:
    """Health asks for it: jobs that wait rightly must not make it red."""
    async with layer.owner_database.engine.connect() as connection:
        assert await ledger.ready_lag(connection) is None
    running, waiting = await insert(layer, group_key="g"), await insert(layer, group_key="g")
    await claim(layer, running)
    async with layer.owner_database.engine.begin() as connection:
        assert await ledger.ready_lag(connection) is None
        await ledger.cancel(connection, [running])
        await connection.execute(
            text("UPDATE bedplate.jobs SET run_at = now() - interval '1 hour' WHERE id = :id"),
            {"id": waiting},
        )
        lag = await ledger.ready_lag(connection)
    assert lag is not None
    assert lag > timedelta(minutes=59)


async def test_an_unknown_job_is_not_found(layer: DataLayer) -> None:
    """And not None, which would be forgotten."""
    with pytest.raises(NotFoundError):
        await load(layer, new_id())


@pytest.mark.parametrize(
    "change",
    [
        "state = 'running'",
        "state = 'sent'",
        "state = 'succeeded'",
        "lease_until = now()",
        "finished_at = now()",
        "worker = 'w'",
        "progress = 101",
        "state = 'lost'",
        "arguments = '[]'",
        "attempt = -1",
        "max_attempts = 0",
        "crashes = -1",
        "fence = -1",
    ],
)
async def test_the_database_refuses_a_row_that_contradicts_itself(
    layer: DataLayer, change: str
) -> None:
    """What the code forgets, a trigger remembers, of a new row as of a changed one."""
    await insert(layer)
    column, _, value = change.partition(" = ")
    added = f"INSERT INTO bedplate.jobs (task, queue, {column}) VALUES ('t', 'q', {value})"
    for statement in (f"UPDATE bedplate.jobs SET {change}", added):
        with pytest.raises(IntegrityError, match="a job may not become"):
            async with layer.owner_database.engine.begin() as connection:
                await connection.execute(text(statement))


@pytest.mark.fault(48, holds="I12", every_run=True)
async def test_fault_48_a_large_backlog_is_read_by_its_index(layer: DataLayer) -> None:
    """Sorting a million ready jobs for each batch of 200 would be the end of the relay."""
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO bedplate.jobs (task, queue)"
                " SELECT 't.t', 'q' FROM generate_series(1, 5000)"
            )
        )
        await connection.execute(text("ANALYZE bedplate.jobs"))
        explain = text(f"EXPLAIN {statements.TAKE_READY.text}")
        values = {
            "queues": ["q"],
            "priorities": [0],
            "limit": 200,
            "deadline": timedelta(seconds=30),
            "since": None,
        }
        plan = "\n".join((await connection.execute(explain, values)).scalars())
    assert "Index Scan using ix_jobs_ready" in plan
