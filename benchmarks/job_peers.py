"""Other job systems, each as its documentation begins: their worker, and what drives it.

Run by the Python of an environment of their own, which has no bedplate in it:

    python job_peers.py work celery|procrastinate|pgqueuer
    python job_peers.py drive celery|procrastinate|pgqueuer --jobs 1000 --samples 100

DATABASE_URL and REDIS_URL name the servers. Every task writes when it began into a list in Redis;
`drive` prints the seconds for all jobs and the times of single ones as JSON. Called by
`job_life.py`.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

DONE = "bench:done"
AT_ONCE = 2
PER_TRANSACTION = 10
WARM_UP = 20
TIMEOUT_SECONDS = 60.0

DATABASE = os.environ.get("DATABASE_URL", "")
REDIS = os.environ.get("REDIS_URL", "")


class Peer(Protocol):
    """What is asked of each system."""

    async def open(self) -> None:
        """Make its tables and connect."""

    async def enqueue(self, count: int) -> None:
        """Enqueue jobs, in one transaction where it has one."""

    async def work(self) -> None:
        """Run jobs until killed."""


class CeleryPeer:
    """Celery on Redis, without results. A job is a message, and in no transaction."""

    def __init__(self) -> None:
        from celery import Celery

        self.app = Celery("plain", broker=REDIS, set_as_current=False)
        self.app.conf.update(
            task_ignore_result=True, worker_hijack_root_logger=False, worker_concurrency=AT_ONCE
        )
        opened: list[Redis] = []

        def stamp() -> None:
            began = time.time()
            if not opened:
                opened.append(Redis.from_url(REDIS))
            opened[0].rpush(DONE, began)

        self.app.task(stamp, name="plain.stamp", shared=False)

    async def open(self) -> None:
        """It has nothing to make."""
        self.connection = self.app.connection_for_write()

    async def enqueue(self, count: int) -> None:
        """One message each."""
        for _ in range(count):
            self.app.send_task("plain.stamp", connection=self.connection)

    async def work(self) -> None:
        """Pool children, as by default. They are forked, hence by another process' main thread."""
        os.execv(sys.executable, [sys.executable, __file__, "fork", "celery"])


class ProcrastinatePeer:
    """Procrastinate: jobs are rows of PostgreSQL, one process of asyncio."""

    def __init__(self) -> None:
        import procrastinate

        self.app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DATABASE))
        redis = AsyncRedis.from_url(REDIS)

        async def stamp() -> None:
            await redis.rpush(DONE, time.time())

        self.task = self.app.task(name="stamp")(stamp)

    async def open(self) -> None:
        """Its schema, once."""
        import procrastinate.exceptions as errors

        await self.app.open_async()
        try:
            await self.app.schema_manager.apply_schema_async()
        except errors.ConnectorException:
            assert await self.app.check_connection_async()

    async def enqueue(self, count: int) -> None:
        """One statement, one transaction."""
        if count == 1:
            await self.task.defer_async()
        else:
            await self.task.batch_defer_async(*({} for _ in range(count)))

    async def work(self) -> None:
        """As many at once as the others."""
        await self.app.run_worker_async(concurrency=AT_ONCE)


class PgQueuerPeer:
    """PgQueuer: jobs are rows of PostgreSQL, taken in batches by one process of asyncio."""

    async def open(self) -> None:
        """Its schema, once."""
        import asyncpg
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        self.connection = await asyncpg.connect(DATABASE)
        self.driver = AsyncpgDriver(self.connection)
        self.queries = Queries(self.driver)
        if not await self.queries.has_table("pgqueuer"):
            await self.queries.install()

    async def enqueue(self, count: int) -> None:
        """One statement, one transaction."""
        async with self.connection.transaction():
            await self.queries.enqueue(["stamp"] * count, [None] * count, [0] * count)

    async def work(self) -> None:
        """As many at once as it likes: batches of ten."""
        from pgqueuer import PgQueuer

        queue = PgQueuer(self.driver)
        redis = AsyncRedis.from_url(REDIS)

        async def stamp(_job: Any) -> None:
            await redis.rpush(DONE, time.time())

        queue.entrypoint("stamp")(stamp)
        await queue.run()


PEERS: dict[str, Callable[[], Peer]] = {
    "celery": CeleryPeer,
    "procrastinate": ProcrastinatePeer,
    "pgqueuer": PgQueuerPeer,
}


async def drive(
    enqueue: Callable[[int], Awaitable[None]], redis: "Redis", jobs: int, samples: int
) -> dict[str, Any]:
    """The seconds that all jobs took, and for single ones: (ms since the call, since its end)."""
    await _run(enqueue, redis, WARM_UP)
    seconds = await _run(enqueue, redis, jobs)
    times = []
    for _ in range(samples):
        redis.delete(DONE)
        called = time.time()
        await enqueue(1)
        returned = time.time()
        await _until(redis, 1)
        began = float(redis.lindex(DONE, 0) or 0)
        times.append(((began - called) * 1000, (began - returned) * 1000))
    return {"jobs": jobs, "seconds": seconds, "times_ms": times}


async def _run(enqueue: Callable[[int], Awaitable[None]], redis: "Redis", jobs: int) -> float:
    redis.delete(DONE)
    started = time.perf_counter()
    for _ in range(0, jobs, PER_TRANSACTION):
        await enqueue(PER_TRANSACTION)
    await _until(redis, jobs)
    return time.perf_counter() - started


async def _until(redis: "Redis", wanted: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while int(redis.llen(DONE)) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {TIMEOUT_SECONDS:g} s")
        await asyncio.sleep(0.005)


async def _main(peer: Peer, options: argparse.Namespace) -> None:
    await peer.open()
    if options.role == "work":
        await peer.work()
        return
    if options.jobs == 0:
        return
    found = await drive(peer.enqueue, Redis.from_url(REDIS), options.jobs, options.samples)
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("work", "drive", "fork"))
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100)
    given = parser.parse_args()
    if given.role == "fork":
        CeleryPeer().app.worker_main(
            ["worker", "-P", "prefork", "--without-mingle", "--without-gossip", "-l", "ERROR"]
        )
        sys.exit(0)
    asyncio.run(_main(PEERS[given.peer](), given))
