"""One transaction: what a job in it costs, how soon it runs, and how soon after a death.

    python -m benchmarks.transaction [--only cost|life|events|recovery] [--jobs 1000]

On servers of its own in a temporary folder, everything in turn on the same machine in one run; the
machine is noisy, so read the ratios. Peers as released, in an environment of their own
(`.venv-peers`): plain Celery, because it is what most have; Procrastinate and PgQueuer, because
both are well kept and keep their jobs in PostgreSQL, where they can be enqueued in a transaction.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop
from redis import Redis
from sqlalchemy import text

from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.event_loop import settled_heap
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from benchmarks import job_stand as stand
from benchmarks.enqueue_cost import Cost, measure_cost
from benchmarks.job_peers import drive
from benchmarks.machine import facts

PEER_PROGRAM = Path(__file__).with_name("job_peers.py")
PEERS = ("celery", "procrastinate", "pgqueuer")
PARTS = ("cost", "life", "events", "recovery")
MESSAGES = 50_000
TIMEOUT_SECONDS = 60.0

FILL_OUTBOX = """
INSERT INTO bedplate.outbox (kind, key, not_before)
SELECT 'cache.invalidate', 'order:' || number, now() - (:count - number) * interval '100 us'
  FROM generate_series(1, :count) AS number
"""


def main() -> None:
    """Start the servers, measure what is asked for, print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    parts = options.only or PARTS
    python = stand.peers_python() if "life" in parts else None
    print(facts(*(stand.PEER_PACKAGES if python else ())))
    with tempfile.TemporaryDirectory() as folder, stand.servers(Path(folder)) as variables:
        if "cost" in parts:
            print_cost(uvloop.run(measure_cost(variables)))
        if python:
            print_life(measure_life(variables, python, options.jobs, options.samples))
        if "events" in parts:
            rate = uvloop.run(measure_events(variables))
            print(f"\nrelay: {rate:,.0f} events/s ({MESSAGES:,} invalidations; aim 50,000)")
        if "recovery" in parts:
            seconds = uvloop.run(measure_recovery(variables))
            print(f"\nworker killed, its job runs again after {seconds:.1f} s (aim: under 30 s)")


def measure_life(
    variables: dict[str, str], python: Path, jobs: int, samples: int
) -> dict[str, dict[str, Any]]:
    """Every system in turn, each with its own worker and nobody else's."""
    found = {}
    with (
        stand.process(stand.ours("relay"), variables),
        stand.process(stand.ours("worker"), variables),
    ):
        found["bedplate, relay and Celery"] = uvloop.run(drive_ours(variables, jobs, samples))
    with stand.process(stand.ours("direct"), variables):
        found["bedplate, direct worker"] = uvloop.run(drive_ours(variables, jobs, samples))
    for peer in PEERS:
        program = [python, PEER_PROGRAM]
        asked = ["--jobs", jobs, "--samples", samples]
        # The tables first: a worker that finds none ends.
        run_peer([*program, "drive", peer, "--jobs", 0], variables)
        with stand.process([*program, "work", peer], variables):
            found[peer] = json.loads(run_peer([*program, "drive", peer, *asked], variables))
    return found


async def drive_ours(variables: dict[str, str], jobs: int, samples: int) -> dict[str, Any]:
    """As a peer is driven; at the end the ledger must say that all is done."""
    settings = Settings.load(stand.NAME, variables)
    async with DataLayer(settings, name=stand.NAME) as layer:

        async def enqueue(count: int) -> None:
            async with layer.transaction() as uow:
                for _ in range(count):
                    uow.enqueue(stand.stamp)

        found = await drive(enqueue, Redis.from_url(settings.redis()), jobs, samples)
        await until(lambda: _none_live(layer))
        return found


async def measure_events(variables: dict[str, str]) -> float:
    """Messages a second that one relay acts on."""
    settings = Settings.load(stand.NAME, variables)
    async with DataLayer(settings, name=stand.NAME) as layer, Broker(settings.redis()) as broker:
        async with layer.owner_database.engine.begin() as owner:
            await owner.execute(text(FILL_OUTBOX), {"count": MESSAGES})
        with settled_heap():
            started = time.perf_counter()
            delivered = await Relay(layer, broker).drain()
            assert delivered.messages == MESSAGES
            return MESSAGES / (time.perf_counter() - started)


async def measure_recovery(variables: dict[str, str]) -> float:
    """From the kill -9 of a worker to the next begin of its job, with the lease's default."""
    settings = Settings.load(stand.NAME, variables)
    redis = Redis.from_url(settings.redis())
    redis.delete(stand.DONE)
    with (
        stand.process(stand.ours("relay"), variables),
        stand.process(stand.ours("worker"), variables),
        stand.process(stand.ours("worker"), variables),
    ):
        async with DataLayer(settings, name=stand.NAME) as layer, layer.transaction() as uow:
            uow.enqueue(stand.hold)
        await until(lambda: _listed(redis, 1))
        pid = int(redis.lindex(stand.DONE, 0).split()[0])  # type: ignore[union-attr]
        os.killpg(os.getpgid(pid), signal.SIGKILL)
        killed = time.time()
        await until(lambda: _listed(redis, 2))
        return float(redis.lindex(stand.DONE, 1).split()[1]) - killed  # type: ignore[union-attr]


def print_cost(costs: Sequence[Cost]) -> None:
    """Commits a second, by clients."""
    print("\ncommits/s of a transaction that inserts one row     alone  + job   cost    CPU of it")
    for cost in costs:
        print(
            f"  {cost.clients:3} clients of one process {'':22} {cost.alone:7.0f} "
            f"{cost.with_job:6.0f} {cost.share:6.1%} {cost.cpu_us:7.0f} µs"
        )


def print_life(found: dict[str, dict[str, Any]]) -> None:
    """Jobs a second and latency, with the ratio to plain Celery."""
    jobs = next(iter(found.values()))["jobs"]
    plain = found["celery"]["seconds"]
    print(f"\n{jobs} jobs through the whole life{'':14}jobs/s   of Celery's  commit to start, ms")
    print(f"{'':60}{'p50':>6}{'p99':>8}")
    for name, each in found.items():
        since_commit = sorted(times[1] for times in each["times_ms"])
        p99 = since_commit[int(len(since_commit) * 0.99)]
        print(
            f"  {name:34} {jobs / each['seconds']:9.0f} {plain / each['seconds']:9.2f} "
            f"{statistics.median(since_commit):10.1f}{p99:8.1f}"
        )


def run_peer(command: Sequence[object], variables: dict[str, str]) -> str:
    """A peer's program: what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env={**os.environ, **variables}, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it; fails after a bounded time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not await look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {TIMEOUT_SECONDS:g} s")
        await asyncio.sleep(0.01)


async def _none_live(layer: DataLayer) -> bool:
    live = text(
        "SELECT NOT EXISTS (SELECT FROM bedplate.jobs WHERE state IN ('ready', 'sent', 'running'))"
    )
    async with layer.owner_database.engine.connect() as connection:
        return bool(await connection.scalar(live))


async def _listed(redis: "Redis", count: int) -> bool:
    return int(redis.llen(stand.DONE)) >= count


if __name__ == "__main__":
    main()
