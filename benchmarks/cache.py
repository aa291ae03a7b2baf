"""Cache hits a second: in the process and in Redis, against redis-py, aiocache and cashews.

    python -m benchmarks.cache [--rounds 3]

On a Valkey of its own in a temporary folder. The peers are their released packages, in an
environment of their own (`.venv-cache-peers`); each keeps a small dictionary under one key and
reads it, 32 callers at once or in a loop of one. The contenders take turns within a round, the
median round counts; the machine is noisy, so read the ratios.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.cache.cache import Cache
from bedplate.servers.binaries import find_valkey
from benchmarks.machine import facts

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-cache-peers"
PEER_PACKAGES = ("aiocache[redis]==0.12.3", "cashews[redis]==7.6.0", "hiredis")
AT_ONCE = 32
NEAR_CALLS = 300_000
REMOTE_CALLS = 20_000
BOOK = {"id": 7, "title": "Rayuela", "tags": ["novel", "1963"], "pages": 635}
TTL = timedelta(minutes=10)


async def load() -> dict[str, object]:
    """What is cached."""
    return BOOK


def main() -> int:
    """Measure, print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    figures: dict[str, list[float]] = {}
    with valkey() as url:
        peers = peers_python()
        for _ in range(rounds):
            measured = asyncio.run(measure(url))
            said = subprocess.run(
                [peers, "-m", "benchmarks.cache_peers", url],
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            )
            for name, figure in {**measured, **json.loads(said.stdout)}.items():
                figures.setdefault(name, []).append(figure)
    medians = {name: statistics.median(found) for name, found in figures.items()}
    print(facts())
    for title, base in (("near", "cashews, client side"), ("redis", "redis-py")):
        print(f"\n{title} hits a second, {'one loop' if title == 'near' else f'{AT_ONCE} at once'}")
        for name, figure in medians.items():
            kind, _, who = name.partition(": ")
            if kind == title:
                print(f"  {who:24}{figure:12,.0f}   {figure / medians[f'{title}: {base}']:5.1f}×")
    return 0


async def measure(url: str) -> dict[str, float]:
    """Ours, and redis-py with JSON, as most write it."""
    found = {}
    async with cache_at(url, 1 << 20) as cache:
        found["near: bedplate"] = await near(lambda: cache.get_or_load("book:7", load, ttl=TTL))
    async with cache_at(url, 0) as cache:
        found["redis: bedplate"] = await remote(lambda: cache.get_or_load("book:7", load, ttl=TTL))
    client = Redis.from_url(url)
    await client.set("plain", json.dumps(BOOK))

    async def plain() -> object:
        return json.loads(await client.get("plain") or "null")

    found["redis: redis-py"] = await remote(plain)
    await client.aclose()
    return found


async def near(call: Callable[[], Awaitable[object]], calls: int = NEAR_CALLS) -> float:
    """Hits a second of one caller, who never waits."""
    for _ in range(5):
        assert await call() == BOOK
    begun = time.perf_counter()
    for _ in range(calls):
        await call()
    return calls / (time.perf_counter() - begun)


async def remote(call: Callable[[], Awaitable[object]], calls: int = REMOTE_CALLS) -> float:
    """Hits a second of many callers at once."""
    for _ in range(5):
        assert await call() == BOOK

    async def some() -> None:
        for _ in range(calls // AT_ONCE):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return calls // AT_ONCE * AT_ONCE / (time.perf_counter() - begun)


@contextlib.asynccontextmanager
async def cache_at(url: str, near_bytes: int) -> AsyncIterator[Cache]:
    """A cache that reads no rows."""
    cache = Cache(url, "bench", no_rows, near_bytes=near_bytes)
    yield cache
    await cache.close()


def no_rows() -> AbstractAsyncContextManager[AsyncSession]:
    """Nobody reads any here."""
    raise AssertionError


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """A server of this run's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [str(find_valkey(None)), "--port", str(port), "--bind", "127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--save", "", "--dir", folder], stdout=subprocess.DEVNULL
        )
        try:
            wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    """Until it listens."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
    raise TimeoutError("Valkey does not listen")


def peers_python() -> str:
    """The peers' environment, made once."""
    python, made = PEERS / "bin" / "python", PEERS / "made"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
        made.touch()
    return str(python)


if __name__ == "__main__":
    sys.exit(main())
