"""Much that waits, and much that is gone and cannot be forgotten yet: the relay keeps its pace.

Faults 47 and 48. What is compared is the same work, before and after, by the CPU time that the
server takes for it: by the clock a busy machine would decide.
"""

from collections.abc import Awaitable, Callable

import psutil
import pytest
from sqlalchemy import text

from bedplate.jobs import ledger
from bedplate.jobs.statements import TAKE_READY
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection, numbered
from tests.faults.look import Look

BATCH = 200
# Less than what a relay sends in a second. Once a second it looks for what it may have passed, and
# then reads all that is dead: with fewer batches this look would be all that is measured.
BATCHES = 100
# A busy machine makes some measurements slow; a pace that is lost makes all of them.
TRIES = 4
PID = text("SELECT pg_backend_pid()")
BACKLOG = 1_000_000
DEAD = 10_000

INSERT_READY = """
INSERT INTO bedplate.jobs (task, queue, run_at)
SELECT 'faults.apply', 'default', now() - (:count - number) * interval '1 ms'
  FROM generate_series(1, :count) AS number
"""
INSERT_DEAD = """
INSERT INTO bedplate.jobs (task, queue, state, finished_at, last_error)
SELECT 'faults.apply', 'default', 'dead', now(), 'refused' FROM generate_series(1, :count)
"""
END_SENT = """
UPDATE bedplate.jobs SET state = 'succeeded', lease_until = NULL, finished_at = now()
 WHERE state = 'sent'
"""


async def take_batches(layer: DataLayer) -> float:
    """Jobs that a relay marks as sent in a second of the server's: where they are is asked once."""
    connection = DriverConnection(layer.owner_database, is_relaxed=True)
    server = psutil.Process((await connection.fetch(PID))[0][0])
    started, count, since = _cpu_seconds(server), 0, None
    lanes = await ledger.ready_lanes(connection)
    for _ in range(BATCHES):
        taken = await ledger.take_ready(connection, BATCH, lanes=lanes, since=since)
        since = min(job.run_at for job in taken)
        count += len(taken)
    elapsed = _cpu_seconds(server) - started
    await connection.close()
    assert count == BATCH * BATCHES
    return count / elapsed


async def rate(look: Look, layer: DataLayer) -> float:
    """The same with as many jobs as it takes; they are done afterwards."""
    await look.rows(INSERT_READY, count=BATCH * BATCHES)
    found = await take_batches(layer)
    await look.rows(END_SENT)
    return found


async def best(measure: Callable[[], Awaitable[float]], *, at_least: float) -> float:
    """The best of some measurements; no more of them than it takes."""
    found = 0.0
    for _ in range(TRIES):
        found = max(found, await measure())
        if found >= at_least:
            break
    return found


@pytest.mark.fault(47, holds="I12")
async def test_fault_47_an_old_transaction_takes_less_than_half_of_the_pace(
    look: Look, faults_layer: DataLayer
) -> None:
    """Vacuum can remove nothing meanwhile: what was taken is in the index, and is not read."""
    await rate(look, faults_layer)
    before = max([await rate(look, faults_layer) for _ in range(3)])
    old = await faults_layer.owner_database.connect()
    async with old.transaction(isolation="repeatable_read"):
        await old.execute("SELECT count(*) FROM bedplate.jobs")
        for _ in range(5):
            await rate(look, faults_layer)
        during = await best(lambda: rate(look, faults_layer), at_least=before / 2)
    await old.close()
    assert during >= before / 2


@pytest.mark.fault(48, holds="I12")
async def test_fault_48_a_million_ready_jobs_take_less_than_a_third_of_the_pace(
    look: Look, faults_layer: DataLayer
) -> None:
    """The index begins with what is next, and dead jobs are not in it."""
    await rate(look, faults_layer)
    before = max([await rate(look, faults_layer) for _ in range(3)])
    await look.rows(INSERT_DEAD, count=DEAD)
    await look.rows(INSERT_READY, count=BACKLOG)
    await look.rows("VACUUM ANALYZE bedplate.jobs")
    plan = "\n".join(await _explain(faults_layer))
    assert "Index Scan using ix_jobs_ready on jobs ready" in plan
    assert "Seq Scan" not in plan
    during = await best(lambda: take_batches(faults_layer), at_least=before * 0.7)
    assert during >= before * 0.7


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _explain(layer: DataLayer) -> list[str]:
    sql, names = numbered(TAKE_READY)
    values = {
        "queues": ["default"],
        "priorities": [0],
        "limit": BATCH,
        "deadline": ledger.SENT_DEADLINE,
        "since": None,
    }
    connection = await layer.owner_database.connect()
    rows = await connection.fetch(f"EXPLAIN {sql}", *(values[name] for name in names))
    await connection.close()
    return [row[0] for row in rows]
