"""Workers that die, stop and leave, in both kinds: no job is lost, and none has its effect twice.

Faults 7 to 13, 37, 38, 39 and 42. "worker" is Celery's with its pool, "direct" takes its jobs from
PostgreSQL itself.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.delivery.broker import Broker, WakeUp
from bedplate.jobs.ledger import JobState
from bedplate.jobs.run import JobRun
from bedplate.jobs.scheduler import Scheduler
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from tests.faults import sample_system as sample
from tests.faults.look import Look
from tests.faults.processes import Child, Processes
from tests.faults.rest import until

BOTH = pytest.mark.parametrize("kind", ["worker", "direct"])
# What Celery says of it. Its children tell less: the dead one may have been replaced already.
CHILD_IS_DEAD = "exited with 'signal 9"
ATTEMPTED = "UPDATE bedplate.jobs SET attempt = 1 WHERE attempt = 0"
TICKS = "SELECT run_at FROM bedplate.jobs WHERE task = 'faults.nightly' ORDER BY run_at"

# The sample's process, by clocks that are wrong.
SHIFTED = """
import runpy, sys, time
real_time, real_ns, shift = time.time, time.time_ns, float(sys.argv[2])
time.time = lambda: real_time() + shift
time.time_ns = lambda: real_ns() + int(shift * 1e9)
sys.argv = ["sample_system", sys.argv[1]]
runpy.run_module("tests.faults.sample_system", run_name="__main__")
"""


@task(name="faults.nightly", cron="30 2 * * *", time_zone="Europe/Berlin")
async def nightly(job: JobRun) -> None:
    """What must be done once a night, whatever the clocks of that night do."""


class Clock:
    """A time that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    async def __call__(self, _connection: AsyncConnection) -> datetime:
        return self.now


def start_all(processes: Processes, kind: str, *, failpoints: str = "") -> Child:
    """A worker, and for Celery's a relay that sends to it."""
    if kind == "worker" and not any(child.name == "relay" for child in processes.started):
        processes.start("relay")
    return processes.start(kind, failpoints=failpoints)


async def killed_once(processes: Processes, kind: str, step: str) -> None:
    """Have a worker die at a step of the one job, and be replaced by a whole one."""
    dying = start_all(processes, kind, failpoints=f"{step}=kill")
    if kind == "direct":
        await dying.until_ended()
    else:
        # Its pool child dies; the pool makes others, and the second might die as well.
        await dying.until_says(CHILD_IS_DEAD)
        dying.kill()
    start_all(processes, kind)


@pytest.mark.fault(7, holds="I3 I15", every_run=True)
async def test_fault_07_worker_killed_with_messages_in_its_hands_loses_no_job(
    look: Look, processes: Processes, faults_layer: DataLayer
) -> None:
    """Redis has given them away, nobody has claimed them: plain Celery loses five of five."""
    processes.start("relay")
    dying = processes.start("worker")
    first = await look.enqueue(sample.apply, "first")
    await look.until_state(first, JobState.SUCCEEDED)
    dying.stop()
    ids = [await look.enqueue(sample.apply, f"job {number}") for number in range(5)]
    for job_id in ids:
        await look.until_state(job_id, JobState.SENT)
    dying.kill()
    processes.start("worker")
    for number, job_id in enumerate(ids):
        await look.until_state(job_id, JobState.SUCCEEDED)
        assert await look.effects(job_id) == [f"job {number}"]


@BOTH
@pytest.mark.fault(8, holds="I3")
async def test_fault_08_worker_killed_after_its_claim_counts_a_crash(
    look: Look, processes: Processes, kind: str
) -> None:
    """The claim is committed, the task has not begun: another worker runs it after the lease."""
    job_id = await look.enqueue(sample.apply, "once")
    await killed_once(processes, kind, "worker.after_claim")
    job = await look.until_state(job_id, JobState.SUCCEEDED)
    assert job.crashes >= 1
    assert job.attempt == job.crashes + 1
    assert await look.effects(job_id) == ["once"]


@BOTH
@pytest.mark.fault(9, holds="I4")
async def test_fault_09_worker_killed_between_effect_and_end_has_the_effect_once(
    look: Look, processes: Processes, kind: str
) -> None:
    """Both are one transaction: what was not ended was not done."""
    job_id = await look.enqueue(sample.apply, "once")
    await killed_once(processes, kind, "job.before_finish")
    job = await look.until_state(job_id, JobState.SUCCEEDED)
    assert job.attempt >= 2
    assert await look.effects(job_id) == ["once"]


@BOTH
@pytest.mark.fault(10, holds="I4")
async def test_fault_10_worker_killed_after_the_end_runs_nothing_again(
    look: Look, processes: Processes, kind: str, faults_layer: DataLayer
) -> None:
    """It had no time to say so to anybody, and need not: a message about it finds it ended."""
    job_id = await look.enqueue(sample.apply, "once")
    await killed_once(processes, kind, "job.after_finish")
    async with Broker(faults_layer.settings.redis()) as broker:
        await broker.publish([WakeUp(sample.NAME, "default", job_id)])
    after = await look.enqueue(sample.apply, "after it")
    await look.until_state(after, JobState.SUCCEEDED)
    job = await look.job(job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.SUCCEEDED, 1, 0)
    assert await look.effects(job_id) == ["once"]


@BOTH
@pytest.mark.fault(11, holds="I3")
async def test_fault_11_a_job_that_eats_all_memory_fails_alone(
    look: Look, processes: Processes, kind: str
) -> None:
    """It is refused memory, is dead after its attempts, and its worker goes on."""
    start_all(processes, kind)
    greedy = await look.enqueue(sample.hog)
    after = await look.enqueue(sample.apply, "after it")
    job = await look.until_state(greedy, JobState.DEAD)
    assert (job.attempt, job.crashes) == (2, 0)
    assert "MemoryError" in str(job.last_error)
    await look.until_state(after, JobState.SUCCEEDED)


@pytest.mark.fault(12, holds="I3")
async def test_fault_12_a_poison_job_is_dead_after_three_direct_workers(
    look: Look, processes: Processes
) -> None:
    """It takes the whole process along each time, and is left alone then."""
    poison = await look.enqueue(sample.poison)
    for crash in range(3):
        worker = processes.start("direct")
        await worker.until_ended()
        assert (await look.job(poison)).fence == crash + 1
    last = processes.start("direct")
    job = await look.until_state(poison, JobState.DEAD)
    assert job.crashes == 3
    after = await look.enqueue(sample.apply, "after it")
    await look.until_state(after, JobState.SUCCEEDED)
    assert last.is_alive


@pytest.mark.fault(13, holds="I5")
async def test_fault_13_a_direct_worker_stopped_past_its_lease_commits_nothing(
    look: Look, processes: Processes, tmp_path: Path
) -> None:
    """It comes back in the middle of a job that another has ended: its fence is old."""
    gate = tmp_path / "gate"
    stopped = processes.start("direct")
    job_id = await look.enqueue(sample.hold, str(gate))
    await until(lambda: _exists(Path(f"{gate}.1.begun")), "the first worker has begun")
    stopped.stop()
    processes.start("direct")
    await until(lambda: _exists(Path(f"{gate}.2.begun")), "the second worker has begun")
    gate.touch()
    job = await look.until_state(job_id, JobState.SUCCEEDED)
    stopped.go_on()
    await stopped.until_says("no longer ours")
    assert (job.fence, job.crashes) == (2, 1)
    assert await look.effects(job_id) == ["held"]


@pytest.mark.fault(37, holds="I4 I6")
async def test_fault_37_messages_three_times_and_in_any_order_run_each_job_once(
    look: Look, processes: Processes, faults_layer: DataLayer, seed: random.Random
) -> None:
    """A broker may do with messages what it likes, but for losing all of them for ever."""
    ids = [await look.enqueue(sample.apply, f"job {number}") for number in range(20)]
    messages = [WakeUp(sample.NAME, "default", job_id) for job_id in ids] * 3
    seed.shuffle(messages)
    async with Broker(faults_layer.settings.redis()) as broker:
        await broker.publish(messages)
    start_all(processes, "worker")
    for number, job_id in enumerate(ids):
        job = await look.until_state(job_id, JobState.SUCCEEDED)
        assert job.attempt == 1
        assert await look.effects(job_id) == [f"job {number}"]


@pytest.mark.fault(38, holds="I3 I5")
async def test_fault_38_workers_an_hour_early_and_late_keep_their_leases(
    look: Look, processes: Processes, tmp_path: Path
) -> None:
    """Leases are reckoned by the database: no clock of a worker enters them."""
    gate = tmp_path / "gate"
    processes.run(SHIFTED, "direct", "3600")
    job_id = await look.enqueue(sample.hold, str(gate))
    await until(lambda: _exists(Path(f"{gate}.1.begun")), "the early worker has begun")
    processes.run(SHIFTED, "direct", "-3600")
    begun = (await look.job(job_id)).lease_until
    assert begun is not None

    async def is_beyond() -> bool:
        lease = (await look.job(job_id)).lease_until
        return lease is not None and lease > begun + timedelta(seconds=3)

    await until(is_beyond, "the heartbeat has kept it for longer than a lease")
    gate.touch()
    job = await look.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.fence, job.crashes) == (1, 1, 0)
    others = [await look.enqueue(sample.apply, "x") for _ in range(6)]
    for each in others:
        assert (await look.until_state(each, JobState.SUCCEEDED)).attempt == 1


@pytest.mark.fault(39, holds="I6")
async def test_fault_39_each_night_has_one_job_over_leap_day_and_summer_time(
    look: Look, faults_layer: DataLayer, seed: random.Random
) -> None:
    """Three schedulers that look at any time: no night without its job, and none with two."""
    leap_day, spring, autumn = (2028, 2, 27), (2026, 3, 27), (2026, 10, 23)
    for year, month, day in (leap_day, spring, autumn):
        first = datetime(year, month, day, 12, tzinfo=UTC)
        await _schedule(look, faults_layer, seed, first, nights=4)


async def _schedule(
    look: Look, layer: DataLayer, seed: random.Random, first: datetime, *, nights: int
) -> None:
    await look.rows("DELETE FROM bedplate.jobs")
    await look.rows("DELETE FROM bedplate.schedules")
    clock = Clock(first)
    schedulers = [Scheduler(layer, [nightly], clock=clock) for _ in range(3)]
    await schedulers[0].tick()
    while clock.now < first + timedelta(days=nights):
        clock.now += timedelta(minutes=seed.randint(1, 90))
        await asyncio.gather(*(scheduler.tick() for scheduler in schedulers))
        await look.rows(ATTEMPTED)
    days = [tick.date() for tick in await look.rows(TICKS)]
    assert days == [(first + timedelta(days=night)).date() for night in range(1, nights + 1)]


@pytest.mark.fault(42, holds="I3 I4")
async def test_fault_42_sigterm_to_a_direct_worker_hands_back_at_once(
    look: Look, processes: Processes
) -> None:
    """No attempt is spent and no lease is waited for: another worker may begin now."""
    leaving = processes.start("direct")
    job_id = await look.enqueue(sample.wait_once, "done")
    await look.until_effect(job_id, "begun")
    leaving.terminate()
    assert await leaving.until_ended() == 0
    job = await look.job(job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.READY, 0, 0)
    processes.start("direct")
    job = await look.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.fence) == (1, 2)
    assert await look.effects(job_id) == ["begun", "done"]


@pytest.mark.fault(42, holds="I3 I4")
async def test_fault_42_sigkill_after_the_grace_costs_a_lease_and_nothing_else(
    look: Look, processes: Processes, tmp_path: Path
) -> None:
    """A task that blocks its loop hears no SIGTERM; whoever loses patience may kill it."""
    gate = tmp_path / "gate"
    deaf = processes.start("direct")
    job_id = await look.enqueue(sample.block, str(gate))
    await look.until_state(job_id, JobState.RUNNING)
    deaf.terminate()
    deaf.kill()
    gate.touch()
    processes.start("direct")
    job = await look.until_state(job_id, JobState.SUCCEEDED)
    assert (job.crashes, job.fence) == (1, 2)
    assert await look.effects(job_id) == ["by fence 2"]


async def _exists(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)
