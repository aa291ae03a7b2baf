"""The scheduler on a real database: each tick once, whoever runs it and however often."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.jobs import ledger
from bedplate.jobs.run import JobRun
from bedplate.jobs.scheduler import Scheduler
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from tests.integration.delivery.ledger_view import until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@task(name="clock.minutely", queue="clock", every=timedelta(minutes=1))
async def minutely(job: JobRun, tick: datetime) -> None:
    """What is scheduled."""


@task(name="clock.secondly", every=timedelta(seconds=1))
async def secondly(job: JobRun) -> None:
    """What comes soon."""


class Clock:
    """A time that a test sets; what is due is reckoned from it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    async def __call__(self, _connection: AsyncConnection) -> datetime:
        return self.now


async def jobs_of(layer: DataLayer) -> list[Any]:
    """What was enqueued, oldest first."""
    async with layer.owner_database.engine.connect() as connection:
        rows = await connection.execute(text("SELECT * FROM bedplate.jobs ORDER BY run_at"))
        return list(rows)


async def begin_all(layer: DataLayer) -> None:
    """Have every job be one that a worker has begun."""
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(text("UPDATE bedplate.jobs SET attempt = 1 WHERE attempt = 0"))


async def test_a_new_schedule_has_missed_nothing(layer: DataLayer) -> None:
    """Its first tick is the next one: a deploy at noon does not start what is due at night."""
    clock = Clock(NOON + timedelta(seconds=10))
    scheduler = Scheduler(layer, [minutely], clock=clock)
    assert await scheduler.tick() == []
    clock.now = NOON + timedelta(seconds=61)
    (job_id,) = await scheduler.tick()
    (job,) = await jobs_of(layer)
    assert (job.id, job.task, job.queue) == (job_id, "clock.minutely", "clock")
    assert job.run_at == NOON + timedelta(minutes=1)
    assert minutely.decode(job.arguments) == {"tick": NOON + timedelta(minutes=1)}


async def test_of_many_schedulers_one_enqueues_each_tick(layer: DataLayer) -> None:
    """None leads; each tick is moved on by one statement that is guarded by it."""
    clock = Clock(NOON)
    schedulers = [Scheduler(layer, [minutely], clock=clock) for _ in range(8)]
    for minute in range(6):
        clock.now = NOON + timedelta(minutes=minute, seconds=1)
        await asyncio.gather(*(scheduler.tick() for scheduler in schedulers))
        await begin_all(layer)
    ticks = [job.run_at for job in await jobs_of(layer)]
    assert ticks == [NOON + timedelta(minutes=minute) for minute in range(1, 6)]


async def test_missed_ticks_are_one_job(layer: DataLayer) -> None:
    """After a night without a scheduler a thousand jobs help nobody."""
    clock = Clock(NOON)
    scheduler = Scheduler(layer, [minutely], clock=clock)
    await scheduler.tick()
    clock.now = NOON + timedelta(hours=8, seconds=1)
    assert len(await scheduler.tick()) == 1
    assert await scheduler.tick() == []
    clock.now += timedelta(minutes=1)
    await begin_all(layer)
    assert len(await scheduler.tick()) == 1


async def test_a_job_that_waits_stands_for_the_next_tick(layer: DataLayer) -> None:
    """A night without a worker must not leave a job for each minute of it."""
    clock = Clock(NOON)
    scheduler = Scheduler(layer, [minutely], clock=clock)
    await scheduler.tick()
    for minute in range(1, 5):
        clock.now = NOON + timedelta(minutes=minute)
        await scheduler.tick()
    assert len(await jobs_of(layer)) == 1


async def test_two_jobs_of_a_periodic_task_are_of_one_group(layer: DataLayer) -> None:
    """A run that takes longer than its interval is not joined by the next one."""
    clock = Clock(NOON)
    scheduler = Scheduler(layer, [minutely], clock=clock)
    for minute in range(3):
        clock.now = NOON + timedelta(minutes=minute)
        await scheduler.tick()
        await begin_all(layer)
    jobs = await jobs_of(layer)
    assert len(jobs) == 2
    assert {job.group_key for job in jobs} == {"schedule clock.minutely"}


async def test_a_clock_that_steps_back_repeats_no_tick(layer: DataLayer) -> None:
    """The database's clock was set right: what has been enqueued stays the last one (fault 38)."""
    clock = Clock(NOON)
    scheduler = Scheduler(layer, [minutely], clock=clock)
    for step in (0, 1, -60, -59, 1, 2):
        clock.now = NOON + timedelta(minutes=step, seconds=1)
        await scheduler.tick()
        await begin_all(layer)
    ticks = [job.run_at for job in await jobs_of(layer)]
    assert ticks == [NOON + timedelta(minutes=1), NOON + timedelta(minutes=2)]


async def test_it_runs_by_the_databases_clock(layer: DataLayer) -> None:
    """Without anybody's help a job is due within its second."""
    scheduler = Scheduler(layer, [secondly])
    running = asyncio.create_task(scheduler.run())

    async def look() -> bool | None:
        await begin_all(layer)
        return len(await jobs_of(layer)) >= 2 or None

    try:
        await until(look, "two ticks")
    finally:
        running.cancel()
    first, second = (await jobs_of(layer))[:2]
    assert second.run_at - first.run_at == timedelta(seconds=1)
    async with layer.owner_database.engine.connect() as connection:
        assert (await ledger.load(connection, first.id)).created_at >= first.run_at
