"""Jobs: how many a second through the whole life, and how soon one starts, against plain Celery.

    python -m benchmarks.jobs [--jobs 1000]

On servers of its own in a temporary folder. Ours: enqueue in transactions, relay, claim, run,
finish in PostgreSQL. Plain Celery: send_task to the same Valkey and count. Both with the same
number of pool children, in turn; the machine is noisy, so read the ratio.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from fastapi import FastAPI
from redis import Redis
from sqlalchemy import MetaData, text

from bedplate.celery import run_worker
from bedplate.delivery.relay import run_relays
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import upgrade
from bedplate.project import Project, SystemEntry
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings
from bedplate.system import System

NAME = "bench"
CHILDREN = 2
# A transaction of a request enqueues one or a few; a loader many.
JOBS_PER_TRANSACTION = 10
LATENCY_SAMPLES = 60
COUNTER = "bench:done"
TIMEOUT_SECONDS = 60.0


@task(name="bench.nothing")
async def nothing(job: JobRun) -> None:
    """The cost of everything else."""


@task(name="bench.stamp")
async def stamp(job: JobRun, sent_at: float) -> None:
    """Say how long it took to get here."""
    started_after = time.time() - sent_at
    await job.layer.redis.client().rpush(COUNTER, started_after)


SYSTEM = System(NAME, "Bench", MetaData(), lambda _layer: FastAPI(), tasks=(nothing, stamp))


def plain_celery(redis_url: str) -> Celery:
    """Celery as its documentation begins, without results."""
    app = Celery("plain", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True, worker_hijack_root_logger=False, worker_concurrency=CHILDREN
    )
    counters: list[Redis] = []

    def count(sent_at: float) -> None:
        started_after = time.time() - sent_at
        if not counters:
            counters.append(Redis.from_url(redis_url))
        counters[0].rpush(COUNTER, started_after)

    app.task(count, name="plain.count", shared=False)
    return app


def main() -> None:
    """Start the servers, run both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--role", choices=("worker", "relay", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        _be(options.role)
        return
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as variables:
        asyncio.run(_compare(variables, options.jobs))


def _be(role: str) -> None:
    settings = Settings.load(NAME)
    if role == "worker":
        sys.exit(run_worker([SYSTEM], settings=settings))
    if role == "relay":
        asyncio.run(_relay(settings))
    else:
        plain_celery(settings.redis()).worker_main(
            ["worker", "-P", "prefork", "--without-mingle", "--without-gossip", "-l", "ERROR"]
        )


async def _relay(settings: Settings) -> None:
    async with DataLayer(settings, name=NAME) as layer:
        await run_relays([layer])


async def _compare(variables: dict[str, str], jobs: int) -> None:
    settings = Settings.load(NAME, variables)
    redis = Redis.from_url(settings.redis())
    async with DataLayer(settings, name=NAME) as layer:
        with _process("relay", variables), _process("worker", variables):
            await _measure_ours(layer, 20)
            ours = await _measure_ours(layer, jobs)
            our_latency = await _our_latency(layer, redis)
        app = plain_celery(settings.redis())
        with _process("plain", variables):
            await _measure_plain(app, redis, 20)
            plain = await _measure_plain(app, redis, jobs)
            plain_latency = await _plain_latency(app, redis)
    print(f"no-op jobs through the whole life, {CHILDREN} pool children, {jobs} jobs")
    print(f"  bedplate      {ours:7.0f} jobs/s")
    print(f"  plain Celery  {plain:7.0f} jobs/s    ratio {ours / plain:.2f} (aim 0.7)")
    print("enqueue to start, ms, one at a time        p50     p95")
    _print_latency("bedplate (from the commit's start)", our_latency)
    _print_latency("plain Celery", plain_latency)


async def _measure_ours(layer: DataLayer, jobs: int) -> float:
    started = time.perf_counter()
    for _ in range(0, jobs, JOBS_PER_TRANSACTION):
        async with layer.transaction() as uow:
            for _ in range(JOBS_PER_TRANSACTION):
                uow.enqueue(nothing)
    await _until(lambda: _live(layer), 0)
    return jobs / (time.perf_counter() - started)


async def _live(layer: DataLayer) -> int:
    async with layer.reading() as session:
        found = await session.execute(
            text("SELECT count(*) FROM bedplate.jobs WHERE state IN ('ready', 'sent', 'running')")
        )
        return int(found.scalar_one())


async def _our_latency(layer: DataLayer, redis: Redis) -> list[float]:
    """From before the transaction to the first line of the task."""
    samples = []
    for _ in range(LATENCY_SAMPLES):
        redis.delete(COUNTER)
        async with layer.transaction() as uow:
            uow.enqueue(stamp, time.time())
        await _until(lambda: _counted(redis), 1)
        (taken,) = redis.lrange(COUNTER, 0, 0)
        samples.append(float(taken) * 1000)
    return samples


async def _measure_plain(app: Celery, redis: Redis, jobs: int) -> float:
    redis.delete(COUNTER)
    started = time.perf_counter()
    with app.connection_for_write() as connection:
        for _ in range(jobs):
            app.send_task("plain.count", [time.time()], connection=connection)
    await _until(lambda: _counted(redis), jobs)
    return jobs / (time.perf_counter() - started)


async def _plain_latency(app: Celery, redis: Redis) -> list[float]:
    samples = []
    for _ in range(LATENCY_SAMPLES):
        redis.delete(COUNTER)
        app.send_task("plain.count", [time.time()])
        await _until(lambda: _counted(redis), 1)
        (taken,) = redis.lrange(COUNTER, 0, 0)
        samples.append(float(taken) * 1000)
    return samples


async def _counted(redis: Redis) -> int:
    return int(redis.llen(COUNTER))


async def _until(look: Callable[[], Awaitable[int]], wanted: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while await look() != wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {TIMEOUT_SECONDS:g} s")
        await asyncio.sleep(0.01)


def _print_latency(name: str, samples: list[float]) -> None:
    ordered = sorted(samples)
    high = ordered[int(len(ordered) * 0.95)]
    print(f"  {name:38} {statistics.median(ordered):6.1f}  {high:6.1f}")


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL and Valkey of our own, durable as in production, with the layer's schema."""
    entry = SystemEntry(NAME, None, NAME, NAME, "unused")
    project = Project(root=folder, systems=(entry,), state=folder / "state")
    with client.attach(project, StackOptions()) as stack:
        variables = {
            **stack.state.environment(project.systems),
            "BEDPLATE_ENV": "test",
            "BEDPLATE_WORKER_CONCURRENCY": str(CHILDREN),
        }
        asyncio.run(upgrade(SYSTEM, Settings.load(NAME, variables)))
        yield variables


@contextmanager
def _process(role: str, variables: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.jobs", "--role", role],
        env={**os.environ, **variables},
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
