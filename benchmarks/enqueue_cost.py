"""What a job costs the transaction that it is enqueued in: commits a second with and without."""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from bedplate.event_loop import settled_heap
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from benchmarks.job_stand import NAME, stamp

CLIENTS = (1, 8, 32)
ROUNDS = 15
ROUND_SECONDS = 1.0
CREATE = "CREATE TABLE IF NOT EXISTS bench_orders (note text NOT NULL)"
GRANT = "GRANT INSERT ON bench_orders TO PUBLIC"
INSERT = text("INSERT INTO bench_orders (note) VALUES ('an order')")
EMPTY = "TRUNCATE bench_orders, bedplate.jobs, bedplate.outbox"


@dataclass(frozen=True)
class Cost:
    """Commits a second, medians of the rounds; `cpu_us`: what a job adds in this process.

    `share` is the part of the commits that is lost: the median over pairs of neighbouring rounds,
    because the machine's own pace changes from one second to the next.
    """

    clients: int
    alone: float
    with_job: float
    share: float
    cpu_us: float


async def measure_cost(variables: dict[str, str]) -> list[Cost]:
    """By clients; both kinds in turn, several times. Nothing else runs."""
    settings = Settings.load(NAME, variables)
    async with DataLayer(settings, name=NAME) as layer:
        async with layer.owner_database.engine.begin() as owner:
            for statement in (CREATE, GRANT):
                await owner.execute(text(statement))
        await _round(layer, 8, has_job=True)
        # As in the API's process.
        with settled_heap():
            found = [await _cost(layer, clients) for clients in CLIENTS]
        async with layer.owner_database.engine.begin() as owner:
            await owner.execute(text(EMPTY))
        return found


async def _cost(layer: DataLayer, clients: int) -> Cost:
    pairs = []
    for _ in range(ROUNDS):
        alone = await _round(layer, clients, has_job=False)
        pairs.append((alone, await _round(layer, clients, has_job=True)))
    return Cost(
        clients,
        statistics.median(alone for (alone, _), _ in pairs),
        statistics.median(with_job for _, (with_job, _) in pairs),
        statistics.median(1 - with_job / alone for (alone, _), (with_job, _) in pairs),
        statistics.median(after - before for (_, before), (_, after) in pairs),
    )


async def _round(layer: DataLayer, clients: int, *, has_job: bool) -> tuple[float, float]:
    """Commits a second, and µs of CPU for each."""
    async with layer.owner_database.engine.begin() as owner:
        await owner.execute(text(EMPTY))
    deadline = time.perf_counter() + ROUND_SECONDS
    cpu = time.process_time()
    counts = await asyncio.gather(
        *(_commit(layer, has_job, lambda: time.perf_counter() < deadline) for _ in range(clients))
    )
    commits = sum(counts)
    return commits / ROUND_SECONDS, (time.process_time() - cpu) / commits * 1e6


async def _commit(layer: DataLayer, has_job: bool, goes_on: Callable[[], bool]) -> int:
    count = 0
    while goes_on():
        async with layer.transaction() as uow:
            await uow.execute(INSERT)
            if has_job:
                uow.enqueue(stamp)
        count += 1
    return count
