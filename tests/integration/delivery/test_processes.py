"""Real processes: a Celery worker with its pool, killed and stopped in every way."""

import base64
import json
import os
import pickle
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis

from bedplate.delivery.broker import RUN_JOB, Broker, WakeUp, queue_name
from bedplate.jobs.ledger import MAX_CRASHES, Job, JobState
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from tests.integration.delivery import sample_system as sample
from tests.integration.delivery.conftest import Starter
from tests.integration.delivery.ledger_view import LedgerView, until

DEFAULT = queue_name(sample.NAME, "default")

pytestmark = pytest.mark.usefixtures("worker_process", "relay")


@pytest.fixture
def redis(sample_layer: DataLayer) -> Redis:
    """Redis, looked at from outside."""
    return sample_layer.redis.client()


async def test_a_job_goes_the_whole_way(view: LedgerView) -> None:
    """Enqueued, sent, claimed by a pool child, run as the serving role, finished."""
    job_id = await view.enqueue(sample.note, "done")
    job = await view.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.crashes) == (1, 0)
    assert await view.effects(job_id) == ["done"]


async def test_the_ledger_names_the_child_that_runs_the_job(
    view: LedgerView, worker_process: "subprocess.Popen[bytes]"
) -> None:
    """Whoever must end a job's process reads its pid there."""
    job_id = await view.enqueue(sample.wait_once)
    job = await view.until_state(job_id, JobState.RUNNING)
    assert psutil.Process(_pid(job)).ppid() == worker_process.pid
    os.kill(_pid(job), signal.SIGKILL)
    await view.until_state(job_id, JobState.SUCCEEDED)


@pytest.mark.fault(9, 11, holds="I3 I4", every_run=True)
async def test_fault_09_a_killed_child_loses_no_job(view: LedgerView) -> None:
    """kill -9 in mid body: what was committed stays, the job runs again."""
    job_id = await view.enqueue(sample.wait_once)
    await view.until_effect(job_id, "begun")
    os.kill(_pid(await view.load(job_id)), signal.SIGKILL)
    job = await view.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.crashes) == (2, 1)
    assert await view.effects(job_id) == ["begun", "done"]


@pytest.mark.fault(12, holds="I3")
async def test_fault_12_a_poison_job_is_dead_and_others_go_on(view: LedgerView) -> None:
    """A job that kills its worker each time must not do so for ever."""
    poison = await view.enqueue(sample.poison)
    other = await view.enqueue(sample.note, "fine")
    await view.until_state(other, JobState.SUCCEEDED)
    job = await view.until_state(poison, JobState.DEAD)
    assert job.crashes == MAX_CRASHES


@pytest.mark.fault(13, holds="I5")
async def test_fault_13_a_stopped_child_that_comes_back_commits_nothing(
    view: LedgerView, tmp_path: Path
) -> None:
    """SIGSTOP past the lease, SIGCONT: its transaction is refused."""
    gate = tmp_path / "gate"
    job_id = await view.enqueue(sample.late, str(gate))
    pid = _pid(await view.until_state(job_id, JobState.RUNNING))
    os.kill(pid, signal.SIGSTOP)
    await view.until_state(job_id, JobState.SUCCEEDED)
    gate.touch()
    os.kill(pid, signal.SIGCONT)
    refused = Path(f"{gate}.refused")

    async def look() -> bool | None:
        return _exists(refused) or None

    await until(look, "the zombie is refused")
    assert await view.effects(job_id) == ["by fence 2"]


@pytest.mark.fault(37, holds="I4 I6", every_run=True)
async def test_fault_37_duplicates_and_forged_messages_run_nothing(
    view: LedgerView, broker: Broker, redis: Redis, tmp_path: Path
) -> None:
    """Anyone with Redis can write messages; they can name a job, and no more (rows 18, 19)."""
    done = await view.enqueue(sample.note, "once")
    await view.until_state(done, JobState.SUCCEEDED)
    marker = tmp_path / "executed"
    await redis.lpush(DEFAULT, _pickled(marker), "no JSON at all")
    await redis.lpush(DEFAULT, _message(RUN_JOB, ["another", str(done)]))
    await redis.lpush(DEFAULT, _message(RUN_JOB, [sample.NAME, "no id"]))
    await redis.lpush(DEFAULT, _message(RUN_JOB, [1, 2, 3]))
    await redis.lpush(DEFAULT, _message("os.system", [f"touch {marker}"]))
    await broker.publish([WakeUp(sample.NAME, "default", new_id())])
    await broker.publish([WakeUp(sample.NAME, "default", done)] * 3)
    after = await view.enqueue(sample.note, "after them")
    await view.until_state(after, JobState.SUCCEEDED)
    assert await view.effects(done) == ["once"]
    assert not marker.exists()


@pytest.mark.fault(16, holds="I3")
async def test_fault_16_a_queue_that_is_lost_is_sent_again(
    view: LedgerView, redis: Redis, worker_process: "subprocess.Popen[bytes]"
) -> None:
    """DEL by hand, a restart without persistence: the job runs after its deadline."""
    busy = [await view.enqueue(sample.wait_once) for _ in range(2)]
    for job_id in busy:
        await view.until_effect(job_id, "begun")
    waiting = [await view.enqueue(sample.note, "lost") for _ in range(8)]
    for job_id in waiting:
        await view.until_state(job_id, JobState.SENT)
    await redis.delete(DEFAULT)
    for job_id in busy:
        os.kill(_pid(await view.load(job_id)), signal.SIGKILL)
    for job_id in (*waiting, *busy):
        await view.until_state(job_id, JobState.SUCCEEDED)


@pytest.mark.fault(42, holds="I3 I4")
async def test_fault_42_sigterm_hands_a_long_job_back(
    view: LedgerView, worker_process: "subprocess.Popen[bytes]", start: Starter
) -> None:
    """A deploy's SIGTERM: the job goes on elsewhere at once, no attempt spent."""
    os.kill(worker_process.pid, signal.SIGSTOP)
    children = psutil.Process(worker_process.pid).children()
    try:
        leaving = start()
        job_id = await view.enqueue(sample.wait_once)
        await view.until_effect(job_id, "begun")
        assert psutil.Process(_pid(await view.load(job_id))).ppid() == leaving.pid
        leaving.terminate()

        async def ended() -> int | None:
            return leaving.poll()

        assert await until(ended, "the worker ends") == 0
        job = await view.load(job_id)
        assert job.crashes == 0
        assert job.state in {JobState.READY, JobState.SENT}
    finally:
        os.kill(worker_process.pid, signal.SIGCONT)
    job = await view.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.fence, job.crashes) == (1, 2, 0)
    assert children


async def test_a_task_that_exits_its_process_is_run_by_another(view: LedgerView) -> None:
    """sys.exit in a library ends a pool child; the pool makes another."""
    job_id = await view.enqueue(sample.leave)
    job = await view.until_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.crashes) == (1, 0)


@pytest.mark.fault(43, holds="I4 I11", every_run=True)
async def test_fault_43_children_share_no_connection(view: LedgerView) -> None:
    """Everything is opened after the fork: a socket of two processes mixes their answers (43)."""
    await view.execute("DELETE FROM delivery_effects")
    ids = [await view.enqueue(sample.meet, 1) for _ in range(2)]
    jobs = [await view.until_state(job_id, JobState.SUCCEEDED) for job_id in ids]
    assert len({job.worker for job in jobs}) == 2


def _exists(path: Path) -> bool:
    return path.exists()


def _pid(job: Job) -> int:
    assert job.worker is not None
    return int(job.worker.rpartition(":")[2])


def _message(task: str, arguments: list[object], **more: object) -> str:
    """A message as Celery would write it, by hand."""
    body = json.dumps([arguments, {}, {}]).encode()
    return _envelope(task, body, "application/json", **more)


def _pickled(marker: Path) -> str:
    class Execute:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {marker}",)

    body = pickle.dumps([[Execute()], {}, {}])
    return _envelope(RUN_JOB, body, "application/x-python-serialize")


def _envelope(task: str, body: bytes, content_type: str) -> str:
    identity = str(new_id())
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": identity, "root_id": identity},
            "properties": {
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": DEFAULT},
                "delivery_mode": 2,
                "delivery_tag": identity,
                "priority": 0,
            },
        }
    )
