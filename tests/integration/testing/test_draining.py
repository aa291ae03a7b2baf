"""`drain` runs what is due to its end, in this process, and says what went wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bedplate.errors import UnknownTaskError
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from bedplate.testing import assert_enqueued, drain

done: list[str] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    """What an earlier test did does not count."""
    done.clear()


@task(name="shop.pack")
async def pack(job: JobRun, order: str) -> None:
    """Pack, and have it shipped by the same commit."""
    async with job.finishing() as uow:
        uow.enqueue(ship, order)
    done.append(f"packed {order}")


@task(name="shop.ship")
async def ship(job: JobRun, order: str) -> None:
    """Ship."""
    done.append(f"shipped {order}")


@task(name="shop.stumble", max_attempts=3)
async def stumble(job: JobRun, falls: int) -> None:
    """Fail as often as it is told to."""
    done.append(f"attempt {job.attempt}")
    if job.attempt <= falls:
        raise ValueError(f"fell {job.attempt}")


@task(name="shop.repeat")
async def repeat(job: JobRun) -> None:
    """Enqueue itself for ever."""
    async with job.finishing() as uow:
        uow.enqueue(repeat)


async def enqueue(layer: DataLayer, task: Any, *arguments: Any) -> None:
    """Commit one job."""
    async with layer.transaction() as uow:
        uow.enqueue(task, *arguments)


async def test_jobs_that_enqueue_jobs_are_followed(layer: DataLayer) -> None:
    """A test asks for the end of a story, not for its first step."""
    await enqueue(layer, pack, "tea")
    drained = await drain(layer, [pack, ship])
    assert drained.tasks == ["shop.pack", "shop.ship"]
    assert done == ["packed tea", "shipped tea"]
    assert (await drain(layer, [pack, ship])).runs == []


async def test_a_job_for_later_is_left_where_it_is(layer: DataLayer) -> None:
    """Due is what is due now."""
    later = ship.with_options(run_at=datetime.now(UTC) + timedelta(hours=1))
    await enqueue(layer, later, "tea")
    assert (await drain(layer, [ship])).runs == []
    assert (await assert_enqueued(layer, ship, "tea")).state == "ready"


async def test_jobs_of_one_group_run_one_after_the_other(layer: DataLayer) -> None:
    """The relay sends the next one when the first has ended: it is asked again."""
    for order in ("tea", "coffee"):
        await enqueue(layer, ship.with_options(group_key="one"), order)
    assert (await drain(layer, [ship])).tasks == ["shop.ship", "shop.ship"]
    assert done == ["shipped tea", "shipped coffee"]


async def test_what_a_task_raises_is_raised(layer: DataLayer) -> None:
    """A worker writes an error down and goes on; a test must not."""
    await enqueue(layer, stumble, 1)
    with pytest.raises(ValueError, match="fell 1") as failed:
        await drain(layer, [stumble])
    assert "shop.stumble" in failed.value.__notes__[0]
    assert (await assert_enqueued(layer, stumble, 1)).state == "ready"


@pytest.mark.parametrize(
    ("falls", "outcomes"),
    [
        (2, [Outcome.RETRIED, Outcome.RETRIED, Outcome.SUCCEEDED]),
        (3, [Outcome.RETRIED, Outcome.RETRIED, Outcome.DEAD]),
    ],
)
async def test_errors_that_are_not_raised_are_in_the_runs(
    layer: DataLayer, falls: int, outcomes: list[Outcome]
) -> None:
    """To test that a job is tried again, or given up; without waiting for its backoff."""
    await enqueue(layer, stumble, falls)
    drained = await drain(layer, [stumble], raise_errors=False)
    assert [run.outcome for run in drained.runs] == outcomes
    assert [str(run.error) for run in drained.runs if run.error] == [
        f"fell {attempt}" for attempt in range(1, falls + 1)
    ]


async def test_a_task_that_drain_was_not_given_is_named(layer: DataLayer) -> None:
    """The worker would put the job back and wait for newer code: the test would pass."""
    await enqueue(layer, pack, "tea")
    with pytest.raises(UnknownTaskError, match=r"shop\.ship"):
        await drain(layer, [pack])


async def test_a_job_without_an_end_is_bounded(layer: DataLayer) -> None:
    """A test that hangs names nobody."""
    await enqueue(layer, repeat)
    with pytest.raises(AssertionError, match=r"7 jobs ran.*enqueue itself.*\n.*\n  shop\.repeat"):
        await drain(layer, [repeat], limit=7)
