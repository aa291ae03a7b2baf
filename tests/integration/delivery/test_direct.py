"""The direct worker: jobs from PostgreSQL itself, beside relays and Celery's workers or alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.jobs import direct_claims, ledger, trace
from bedplate.jobs.direct import DirectWorker, Room
from bedplate.jobs.ledger import JobState
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import registry_of, task
from bedplate.jobs.worker import Outcome, Worker
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection
from tests.integration.delivery import sample_system as sample
from tests.integration.delivery.conftest import Starter
from tests.integration.delivery.ledger_view import LedgerView, until

MINUTE = timedelta(minutes=1)
SERVED_QUEUES = "SELECT count(*) FROM bedplate.direct_queues"


@pytest.fixture
async def direct(sample_layer: DataLayer, worker: Worker) -> AsyncIterator[DirectWorker]:
    """A direct worker in this process, of four jobs at once."""
    direct = DirectWorker(sample_layer, worker, ["default"], Room(4), poll=MINUTE)
    running = asyncio.create_task(direct.run())
    yield direct
    direct.stop()
    await running


@asynccontextmanager
async def opened(layer: DataLayer) -> AsyncIterator[DriverConnection]:
    """A connection of another worker."""
    connection = DriverConnection(layer.owner_database)
    yield connection
    await connection.close()


async def test_a_job_runs_without_broker_and_relay(view: LedgerView, direct: DirectWorker) -> None:
    """Woken by the commit's NOTIFY: the poll of a minute would be too late."""
    job_id = await view.enqueue(sample.note, "direct")
    job = await view.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.fence) == (1, 1)
    assert await view.effects(job_id) == ["direct"]


async def test_jobs_of_one_loop_run_side_by_side(view: LedgerView, direct: DirectWorker) -> None:
    """As many as there is room for, and the fifth when one has ended."""
    waiting = [await view.enqueue(sample.wait_once) for _ in range(4)]
    for job_id in waiting:
        await view.until_effect(job_id, "begun")
    fifth = await view.enqueue(sample.note, "later")
    async with view.layer.owner_database.engine.begin() as connection:
        await ledger.cancel(connection, waiting[:1])
    await view.until_state(fifth, JobState.SUCCEEDED)


async def test_a_relay_sends_nothing_of_a_queue_that_is_served_directly(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """No message without a reader; when the direct worker is gone, the relay sends again."""
    relay = Relay(sample_layer, broker)
    async with opened(sample_layer) as connection:
        await direct_claims.serve(connection, ["default"], "elsewhere:1", MINUTE)
        job_id = await view.enqueue(sample.note, "x")
        assert (await relay.drain()).jobs == 0
        assert (await view.load(job_id)).state is JobState.READY
        await direct_claims.leave(connection, "elsewhere:1")
    assert (await relay.drain()).jobs == 1


async def test_a_direct_worker_that_went_silent_serves_nothing(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """Its word has a lease, as its jobs have: kill -9 must not keep relays from sending."""
    async with opened(sample_layer) as connection:
        await direct_claims.serve(connection, ["default"], "dead:1", timedelta(0))
        assert await direct_claims.served_directly(connection) == frozenset()
    await view.enqueue(sample.note, "x")
    assert (await Relay(sample_layer, broker).drain()).jobs == 1


async def test_what_was_sent_before_is_taken_back(
    view: LedgerView, sample_layer: DataLayer, broker: Broker, worker: Worker
) -> None:
    """A relay that did not know yet has sent it, to a queue that nobody reads."""
    job_id = await view.enqueue(sample.note, "x")
    await Relay(sample_layer, broker).drain()
    assert (await view.load(job_id)).state is JobState.SENT
    direct = DirectWorker(sample_layer, worker, ["default"], Room(1), poll=MINUTE)
    running = asyncio.create_task(direct.run())
    await view.until_state(job_id, JobState.SUCCEEDED)
    direct.stop()
    await running


async def test_a_trace_goes_from_job_to_job(view: LedgerView, sample_layer: DataLayer) -> None:
    """The direct worker claims by a statement of its own, which must bring it along."""
    context = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    seen: list[object] = []
    ended = asyncio.Event()

    @task(name="sample.traced")
    async def traced(job: JobRun, more: bool) -> None:
        seen.append(trace.current())
        async with job.finishing() as uow:
            if more:
                uow.enqueue(traced, more=False)
        if not more:
            ended.set()

    async with Worker(sample_layer, sample_layer.owner_database, registry_of([traced])) as worker:
        direct = DirectWorker(sample_layer, worker, ["default"], Room(1), poll=MINUTE)
        running = asyncio.create_task(direct.run())
        with trace.carrying(context):
            await view.enqueue(traced, True)
        async with asyncio.timeout(20):
            await ended.wait()
        direct.stop()
        await running
    assert seen == [context, context]


async def test_workers_of_both_kinds_share_a_queue(
    view: LedgerView, worker_process: object, relay: Relay, start: Starter
) -> None:
    """As during a move from one to the other: each job runs once."""
    other = start("direct")
    try:
        ids = [await view.enqueue(sample.note, "once") for _ in range(60)]
        for job_id in ids:
            job = await view.until_state(job_id, JobState.SUCCEEDED)
            assert job.attempt == 1
        for job_id in ids:
            assert await view.effects(job_id) == ["once"]

        async def serves() -> bool | None:
            return bool(await view.scalar(SERVED_QUEUES)) or None

        async def ended() -> int | None:
            return other.poll()

        # The others may have done all before it was there; until then a SIGTERM would kill it.
        await until(serves, "the direct worker serves")
        other.terminate()
        assert await until(ended, "the direct worker ends") == 0
    finally:
        # Left running it would take the jobs of the tests after this one.
        other.kill()


async def test_of_a_group_one_job_runs_at_a_time_under_load(
    view: LedgerView, sample_layer: DataLayer, worker: Worker
) -> None:
    """Several workers that claim at once never run two of a group, and leave none (I6)."""
    ids = [
        await view.enqueue(sample.alone.with_options(group_key=f"group {number % 3}"), number % 3)
        for number in range(24)
    ]
    workers = [
        DirectWorker(sample_layer, worker, ["default"], Room(4), poll=timedelta(seconds=1))
        for _ in range(3)
    ]
    running = [asyncio.create_task(each.run()) for each in workers]
    for job_id in ids:
        await view.until_state(job_id, JobState.SUCCEEDED)
    for each in workers:
        each.stop()
    await asyncio.gather(*running)
    assert worker.outcomes[Outcome.SUCCEEDED] == len(ids)
    assert sample.most_at_once == 1


async def test_a_stopping_direct_worker_hands_back_and_says_so(
    view: LedgerView, sample_layer: DataLayer, direct: DirectWorker
) -> None:
    """What it served is the relay's again at once, and not after a lease."""
    job_id = await view.enqueue(sample.wait_once)
    await view.until_effect(job_id, "begun")
    direct.stop()

    async def look() -> bool | None:
        job = await view.load(job_id)
        return (job.state is JobState.READY and job.attempt == 0) or None

    await until(look, "the job is handed back")

    async def gone() -> bool | None:
        return await view.scalar(SERVED_QUEUES) == 0 or None

    await until(gone, "it serves nothing")


async def test_a_priority_goes_first(
    view: LedgerView, sample_layer: DataLayer, worker: Worker
) -> None:
    """As relays send, so direct workers claim."""
    low = await view.enqueue(sample.note, "low")
    high = await view.enqueue(sample.note.with_options(priority=5), "high")
    async with opened(sample_layer) as connection:
        lanes = await ledger.ready_lanes(connection)
        assert sorted(lanes) == [("default", 0), ("default", 5)]
        (first,) = await direct_claims.claim_ready(connection, lanes, "here:1", MINUTE, limit=1)
        (second,) = await direct_claims.claim_ready(connection, lanes, "here:1", MINUTE, limit=5)
    assert (first.id, second.id) == (high, low)
    assert await worker.run_claimed(first) is Outcome.SUCCEEDED
