"""One attempt at a job, in this process: how each way of ending it is written down."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from bedplate.delivery.broker import Broker
from bedplate.errors import LeaseLostError
from bedplate.jobs.leases import claim
from bedplate.jobs.ledger import JobState
from bedplate.jobs.ledger_connection import LedgerConnection
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import registry_of, task
from bedplate.jobs.worker import Outcome, ProcessExitError, Worker, worker_name
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from tests.integration.delivery import sample_system as sample
from tests.integration.delivery.ledger_view import LedgerView, until

LEASE = "SELECT lease_until FROM bedplate.jobs WHERE id = $1"


async def test_a_finishing_task_writes_its_result_and_its_end_together(
    view: LedgerView, worker: Worker
) -> None:
    """The result and the success are one COMMIT: that is what makes it exactly once."""
    job_id = await view.enqueue(sample.note, "done")
    assert await worker.run(job_id) is Outcome.SUCCEEDED
    job = await view.load(job_id)
    assert (job.state, job.attempt, job.fence, job.progress) == (JobState.SUCCEEDED, 1, 1, 100)
    assert job.worker == worker_name()
    assert await view.effects(job_id) == ["done"]


async def test_a_task_that_just_returns_is_finished_by_the_worker(
    view: LedgerView, worker: Worker
) -> None:
    """Most tasks need no transaction for their end."""
    job_id = await view.enqueue(sample.nothing)
    assert await worker.run(job_id) is Outcome.SUCCEEDED
    assert (await view.load(job_id)).state is JobState.SUCCEEDED


@pytest.mark.fault(37, holds="I4 I6", every_run=True)
async def test_fault_37_a_duplicate_message_is_dropped(view: LedgerView, worker: Worker) -> None:
    """A broker may deliver twice, and an hour late; the claim finds nothing."""
    job_id = await view.enqueue(sample.note, "once")
    outcomes = [await worker.run(job_id) for _ in range(3)]
    assert outcomes == [Outcome.SUCCEEDED, Outcome.DROPPED, Outcome.DROPPED]
    assert await view.effects(job_id) == ["once"]


@pytest.mark.fault(37, holds="I4 I6", every_run=True)
async def test_fault_37_three_messages_at_once_run_the_job_once(
    view: LedgerView, worker: Worker
) -> None:
    """The claim is one statement: only one of those that come together gets the job."""
    job_id = await view.enqueue(sample.note, "once")
    outcomes = await asyncio.gather(*(worker.run(job_id) for _ in range(3)))
    assert sorted(outcomes) == [Outcome.DROPPED, Outcome.DROPPED, Outcome.SUCCEEDED]


async def test_an_id_that_is_in_no_ledger_is_dropped(worker: Worker, view: LedgerView) -> None:
    """Anyone who reaches Redis can write a message, but not a job."""
    assert await worker.run(new_id()) is Outcome.DROPPED
    assert worker.outcomes[Outcome.DROPPED] == 1


async def test_a_failed_attempt_waits_then_is_dead_after_the_last(
    view: LedgerView, sample_layer: DataLayer
) -> None:
    """A retry must not come at once, and must end; the reason stays readable."""
    job_id = await view.enqueue(sample.fail, "no")
    # Not a second: on a busy machine that may be over before the next line.
    backoff = timedelta(minutes=5)
    async with Worker(
        sample_layer, sample_layer.owner_database, registry_of(sample.SYSTEM.tasks), backoff=backoff
    ) as worker:
        assert await worker.run(job_id) is Outcome.RETRIED
        waiting = await view.load(job_id)
        assert (waiting.state, waiting.last_error) == (JobState.READY, "ValueError: no")
        assert await worker.run(job_id) is Outcome.DROPPED  # not due yet
        await view.execute("UPDATE bedplate.jobs SET run_at = now()")
        assert await worker.run(job_id) is Outcome.DEAD
    assert (await view.load(job_id)).state is JobState.DEAD
    assert await view.effects(job_id) == []


async def test_an_error_keeps_only_its_first_line_and_no_password(
    view: LedgerView, worker: Worker
) -> None:
    """PostgreSQL's DETAIL, SQL and inputs stand below the first line, passwords in URLs."""
    job_id = await view.enqueue(sample.fail, "at redis://u:hunter2@h/0\nDETAIL: Key (mail)=(a@b)")
    await worker.run(job_id)
    assert (await view.load(job_id)).last_error == "ValueError: at redis://u:***@h/0"


@pytest.mark.fault(40, holds="I3", every_run=True)
async def test_fault_40_an_unknown_task_is_put_back_and_not_lost(
    view: LedgerView, worker: Worker, sample_layer: DataLayer
) -> None:
    """In a deploy an old worker meets a job of newer code: it must wait for a newer worker."""
    job_id = await view.enqueue(sample.note, "later")
    async with Worker(sample_layer, sample_layer.owner_database, registry_of(())) as older:
        assert await older.run(job_id) is Outcome.PUT_BACK
    job = await view.load(job_id)
    assert (job.state, job.attempt) == (JobState.READY, 0)
    assert job.last_error is not None
    await view.execute("UPDATE bedplate.jobs SET run_at = now()")
    assert await worker.run(job_id) is Outcome.SUCCEEDED


@pytest.mark.fault(40, holds="I3", every_run=True)
async def test_fault_40_newer_arguments_are_put_back(view: LedgerView, worker: Worker) -> None:
    """The same task with a signature that this process does not know yet."""
    job_id = await view.enqueue(sample.note, "later")
    await view.execute("UPDATE bedplate.jobs SET arguments_version = 2")
    assert await worker.run(job_id) is Outcome.PUT_BACK


async def test_arguments_that_do_not_fit_bury_the_job(view: LedgerView, worker: Worker) -> None:
    """Trying them again cannot help."""
    job_id = await view.enqueue(sample.note, "x")
    await view.execute("UPDATE bedplate.jobs SET arguments = '{\"else\": 1}'")
    assert await worker.run(job_id) is Outcome.DEAD
    assert "ArgumentsError" in ((await view.load(job_id)).last_error or "")


async def test_a_cancelled_job_stops_at_its_next_heartbeat(
    view: LedgerView, worker: Worker
) -> None:
    """Who cancels a translation does not want to pay for the rest of it."""
    job_id = await view.enqueue(sample.wait_once)
    running = asyncio.create_task(worker.run(job_id))
    await view.until_effect(job_id, "begun")
    await view.execute(
        "UPDATE bedplate.jobs SET state = 'cancelled', lease_until = NULL, finished_at = now()"
    )
    assert await running is Outcome.CANCELLED
    assert (await view.load(job_id)).state is JobState.CANCELLED


async def test_a_blocked_task_keeps_its_lease(
    view: LedgerView, worker: Worker, sample_layer: DataLayer, tmp_path: Path
) -> None:
    """The heartbeat has a thread of its own: a library that blocks must not look like a crash."""
    gate = tmp_path / "gate"
    job_id = await view.enqueue(sample.late, str(gate))
    watching = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run(_open_when_kept(gate, sample_layer, job_id)))
    )
    assert await worker.run(job_id) is Outcome.SUCCEEDED
    await watching
    job = await view.load(job_id)
    assert (job.attempt, job.crashes) == (1, 0)


@pytest.mark.fault(13, holds="I5", every_run=True)
async def test_fault_13_a_zombie_commits_nothing(
    view: LedgerView, worker: Worker, sample_layer: DataLayer
) -> None:
    """Whoever was taken for dead and comes back has an old fence (I5)."""
    job_id = await view.enqueue(sample.note, "new owner")
    ledger = LedgerConnection(sample_layer.owner_database)
    stale = await claim(ledger, job_id, "gone:1", sample_layer.settings.lease)
    await ledger.close()
    assert stale is not None
    zombie = JobRun(sample_layer, stale)
    await view.execute("UPDATE bedplate.jobs SET lease_until = now()")
    assert await worker.run(job_id) is Outcome.SUCCEEDED
    with pytest.raises(LeaseLostError):
        async with zombie.transaction() as uow:
            await sample.write(uow, job_id, "zombie")
    assert zombie.is_lost
    assert not zombie.is_cancelled
    with pytest.raises(LeaseLostError):
        async with zombie.finishing() as uow:
            await sample.write(uow, job_id, "zombie")
    assert await view.effects(job_id) == ["new owner"]
    assert (await view.load(job_id)).crashes == 1


async def test_progress_is_written_by_the_next_commit(
    view: LedgerView, worker: Worker, sample_layer: DataLayer
) -> None:
    """Progress that others read stands in the same snapshot as the rows it counts."""

    @task(name="sample.step")
    async def step(job: JobRun) -> None:
        await job.progress(33)
        assert (await view.load(job.id)).progress == 0
        async with job.transaction():
            pass
        assert (await view.load(job.id)).progress == 33

    job_id = await view.enqueue(step)
    stepping = Worker(sample_layer, sample_layer.owner_database, registry_of([step]))
    async with stepping:
        assert await stepping.run(job_id) is Outcome.SUCCEEDED


async def test_a_stopping_worker_hands_back_at_once(view: LedgerView, worker: Worker) -> None:
    """A deploy must not cost a long job its lease, nor one of its attempts."""
    job_id = await view.enqueue(sample.wait_once)
    running = asyncio.create_task(worker.run(job_id))
    await view.until_effect(job_id, "begun")
    worker.stop()
    assert await running is Outcome.HANDED_BACK
    job = await view.load(job_id)
    assert (job.state, job.attempt, job.worker) == (JobState.READY, 0, None)


async def test_a_cancelled_run_hands_back(view: LedgerView, worker: Worker) -> None:
    """Whoever ends the loop that a worker lives in must not leave the job to its lease."""
    job_id = await view.enqueue(sample.wait_once)
    running = asyncio.create_task(worker.run(job_id))
    await view.until_effect(job_id, "begun")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await view.load(job_id)).state is JobState.READY


async def test_sys_exit_in_a_task_hands_back_first(view: LedgerView, worker: Worker) -> None:
    """SystemExit would end the loop before anything could be written."""
    job_id = await view.enqueue(sample.leave)
    with pytest.raises(ProcessExitError):
        await worker.run(job_id)
    assert (await view.load(job_id)).state is JobState.READY


async def test_a_busy_group_keeps_the_next_job_waiting(
    view: LedgerView, worker: Worker, broker: Broker
) -> None:
    """One running job per group, whatever the broker delivers (I6)."""
    first = await view.enqueue(sample.wait_once.with_options(group_key="one"))
    second = await view.enqueue(sample.note.with_options(group_key="one"), "second")
    running = asyncio.create_task(worker.run(first))
    await view.until_effect(first, "begun")
    assert await worker.run(second) is Outcome.DROPPED
    assert (await view.load(second)).state is JobState.READY
    worker.stop()
    await running


async def _open_when_kept(gate: Path, layer: DataLayer, job_id: UUID) -> None:
    """Looks from a loop of its own, for the job blocks the test's: until a lease more was given."""
    connection = await layer.owner_database.connect()
    first: list[datetime] = []

    async def is_kept() -> bool | None:
        lease = await connection.fetchval(LEASE, job_id)
        if lease is None:
            return None
        first.append(lease)
        return lease - first[0] >= layer.settings.lease or None

    try:
        await until(is_kept, "the blocked job's lease is kept")
    finally:
        await asyncio.to_thread(gate.touch)
        await connection.close()
