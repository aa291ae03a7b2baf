"""The sweeper of jobs: what has ended goes after its time, what is alive never."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from bedplate.delivery.job_sweeper import JobSweeper
from bedplate.layer import DataLayer

DAY = timedelta(days=1)
INSERT = text("""
INSERT INTO bedplate.jobs (id, task, queue, state, worker, lease_until, finished_at)
VALUES (:id, 'old', 'default', :state, CASE :state WHEN 'running' THEN 'x' END,
        CASE WHEN :state IN ('sent', 'running') THEN now() END,
        CASE WHEN :state IN ('succeeded', 'dead', 'cancelled')
             THEN now() - CAST(:age AS interval) END)
""")
LEFT = text("SELECT state FROM bedplate.jobs")


def id_of(number: int, age: timedelta) -> UUID:
    """A UUIDv7 that was made so long ago."""
    made_ms = int((datetime.now(UTC) - age).timestamp() * 1000)
    return UUID(int=(made_ms << 80) | (7 << 76) | (2 << 62) | number)


async def insert(layer: DataLayer, *jobs: tuple[str, timedelta]) -> None:
    """Jobs in these states, made and ended so long ago."""
    async with layer.owner_database.engine.begin() as connection:
        for number, (state, age) in enumerate(jobs):
            values = {"id": id_of(number, age), "state": state, "age": age}
            await connection.execute(INSERT, values)


async def left(layer: DataLayer) -> Counter[str]:
    """How many jobs there are in each state."""
    async with layer.owner_database.engine.connect() as connection:
        return Counter((await connection.execute(LEFT)).scalars())


@pytest.mark.parametrize("batch", [3, 1000])
async def test_what_ended_goes_after_its_retention_dead_ones_later(
    layer: DataLayer, batch: int
) -> None:
    """However many, batch by batch; what is younger, and all that may still run, stays."""
    await insert(layer, *[(state, 8 * DAY) for state in ("succeeded", "cancelled")] * 5)
    await insert(layer, ("dead", 91 * DAY), ("succeeded", 91 * DAY))
    await insert(layer, ("dead", 20 * DAY), ("dead", 20 * DAY))
    await insert(layer, *[(state, 400 * DAY) for state in ("ready", "sent", "running")])
    await insert(layer, ("succeeded", 6 * DAY), ("cancelled", 6 * DAY))
    sweeper = JobSweeper(layer, batch=batch)
    assert await sweeper.sweep() == 12
    assert await sweeper.sweep() == 0
    await sweeper.close()
    assert await left(layer) == {
        "dead": 2,
        "ready": 1,
        "sent": 1,
        "running": 1,
        "succeeded": 1,
        "cancelled": 1,
    }


async def test_a_job_that_waited_long_is_kept_from_its_end_on(layer: DataLayer) -> None:
    """A year from its enqueue to its end: what counts is the end."""
    await insert(layer, ("succeeded", 400 * DAY))
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(text("UPDATE bedplate.jobs SET finished_at = now()"))
    sweeper = JobSweeper(layer)
    assert await sweeper.sweep() == 0
    await sweeper.close()
