"""What a job costs the transaction that it is enqueued in: commits a second with and without."""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from bedplate.layer import DataLayer
from bedplate.settings import Settings
from benchmarks.job_stand import NAME, stamp

CLIENTS = (1, 8, 32)
ROUNDS = 3
ROUND_SECONDS = 2.0
CREATE = "CREATE TABLE IF NOT EXISTS bench_orders (note text NOT NULL)"
GRANT = "GRANT INSERT ON bench_orders TO PUBLIC"
INSERT = text("INSERT INTO bench_orders (note) VALUES ('an order')")
EMPTY = "TRUNCATE bench_orders, bedplate.jobs, bedplate.outbox"


@dataclass(frozen=True)
class Cost:
    """Commits a second, medians of the rounds; `cpu_us`: what a job adds in this process."""

    clients: int
    alone: float
    with_job: float
    cpu_us: float

    @property
    def share(self) -> float:
        """The part of the commits that is lost."""
        return 1 - self.with_job / self.alone


async def measure_cost(variables: dict[str, str]) -> list[Cost]:
    """By clients; both kinds in turn, several times. Nothing else runs."""
    settings = Settings.load(NAME, variables)
    async with DataLayer(settings, name=NAME) as layer:
        async with layer.owner_database.engine.begin() as owner:
            for statement in (CREATE, GRANT):
                await owner.execute(text(statement))
        await _round(layer, 8, has_job=True)
        found = [await _cost(layer, clients) for clients in CLIENTS]
        async with layer.owner_database.engine.begin() as owner:
            await owner.execute(text(EMPTY))
        return found


async def _cost(layer: DataLayer, clients: int) -> Cost:
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for has_job, rounds in found.items():
            rounds.append(await _round(layer, clients, has_job=has_job))
    alone, with_job = (
        tuple(statistics.median(column) for column in zip(*rounds, strict=True))
        for rounds in found.values()
    )
    return Cost(clients, alone[0], with_job[0], with_job[1] - alone[1])


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
