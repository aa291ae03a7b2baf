"""Commands that are given up in mid answer: whoever comes after gets its own answer, not theirs.

Fault 44. redis-py once gave a connection back with an answer still on its way (CVE-2023-28859), so
that each later command got that of the one before. A proxy makes every answer take its time.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from bedplate.cache.connections import RedisPool
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from tests.faults.tcp_proxy import TcpProxy

KEYS = [f"fault44:{number}" for number in range(20)]
ROUNDS = 4
LATENCY_SECONDS = 0.01
TTL = timedelta(minutes=5)

ProxyBefore = Callable[[str], TcpProxy]


@pytest.fixture
def far(variables: dict[str, str], proxy_before: ProxyBefore) -> TcpProxy:
    """A proxy before Redis."""
    return proxy_before(variables["REDIS_URL"])


@pytest.fixture
async def client(variables: dict[str, str], far: TcpProxy) -> AsyncIterator[Redis]:
    """A client of few connections, so that each is used again at once; its keys are there."""
    async with RedisPool(far.in_url(variables["REDIS_URL"]), size=3) as pool:
        await pool.client().mset({key: key for key in KEYS})
        yield pool.client()
        await pool.client().delete(*KEYS)


async def give_up_half(
    ask: Callable[[str], Awaitable[object]], far: TcpProxy, seed: random.Random
) -> tuple[int, int]:
    """Ask for every key at once, some cancelled on their way; returns (answered, cancelled)."""
    answered = cancelled = 0
    far.latency = LATENCY_SECONDS
    for _ in range(ROUNDS):
        asked = {key: asyncio.ensure_future(ask(key)) for key in KEYS}
        for key in seed.sample(KEYS, len(KEYS) // 2):
            after = seed.uniform(0, 8 * LATENCY_SECONDS)
            asyncio.get_running_loop().call_later(after, asked[key].cancel)
        await asyncio.wait(asked.values())
        for key, each in asked.items():
            if each.cancelled():
                cancelled += 1
            else:
                assert each.result() == key
                answered += 1
    far.latency = 0.0
    for key in KEYS:
        assert await ask(key) == key
    return answered, cancelled


@pytest.mark.fault(44, holds="I9 I10", every_run=True)
async def test_fault_44_a_cancelled_command_leaves_its_answer_to_nobody(
    client: Redis, far: TcpProxy, seed: random.Random
) -> None:
    """Single commands and pipelines of one small pool."""

    async def in_a_pipeline(key: str) -> object:
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.get("fault44:none")
            pipeline.get(key)
            return (await pipeline.execute())[1]

    for ask in (client.get, in_a_pipeline):
        answered, cancelled = await give_up_half(ask, far, seed)
        assert answered
        assert cancelled


@pytest.mark.fault(44, holds="I9 I10")
async def test_fault_44_a_cancelled_reader_of_the_cache_gets_nobody_anothers_value(
    faults_database: ScratchDatabase,
    variables: dict[str, str],
    far: TcpProxy,
    seed: random.Random,
) -> None:
    """All readers share one connection: an answer that nobody waits for is read all the same."""
    url = far.in_url(variables["REDIS_URL"])
    settings = faults_database.settings(**{**variables, "REDIS_URL": url})
    async with DataLayer(settings, name="faults") as layer:

        async def ask(key: str) -> object:
            async def load() -> str:
                return key

            # Out of this process' hands: Redis is to be asked each time.
            layer.cache._near.clear()
            return await layer.cache.get_or_load(key, load, ttl=TTL)

        answered, cancelled = await give_up_half(ask, far, seed)
        assert answered
        assert cancelled
        assert layer.cache.redis_hits
