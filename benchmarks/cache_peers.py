"""The peers' half of `cache.py`, in their own environment: `cache_peers.py URL` prints JSON."""

# mypy: disable-error-code="import-not-found,no-untyped-call,no-untyped-def,import-untyped"
# The project's own environment does not have them.

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit

from aiocache import Cache as AioCache
from aiocache.serializers import JsonSerializer
from cashews import Cache as Cashews

AT_ONCE = 32
NEAR_CALLS = 60_000
REMOTE_CALLS = 20_000
BOOK = {"id": 7, "title": "Rayuela", "tags": ["novel", "1963"], "pages": 635}


async def measure(url: str) -> dict[str, float]:
    """Each with its own defaults; values as JSON where it asks Redis."""
    parts = urlsplit(url)
    found = {}
    memory = AioCache(AioCache.MEMORY)
    await memory.set("book:7", BOOK, ttl=600)
    found["near: aiocache, memory"] = await rate(lambda: memory.get("book:7"), NEAR_CALLS, 1)
    redis = AioCache(
        AioCache.REDIS, endpoint=parts.hostname, port=parts.port, serializer=JsonSerializer()
    )
    await redis.set("book:7", BOOK, ttl=600)
    found["redis: aiocache"] = await rate(lambda: redis.get("book:7"), REMOTE_CALLS, AT_ONCE)
    await redis.close()
    for name, is_near, calls, at_once in (
        ("near: cashews, client side", True, NEAR_CALLS, 1),
        ("redis: cashews", False, REMOTE_CALLS, AT_ONCE),
    ):
        cache = Cashews()
        cache.setup(url, client_side=is_near)
        await cache.init()
        await cache.set("book:7c", BOOK, expire=600)
        found[name] = await rate(partial(cache.get, "book:7c"), calls, at_once)
        await cache.close()
    return found


async def rate(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> float:
    """Hits a second."""
    for _ in range(5):
        assert await call() == BOOK

    async def some() -> None:
        for _ in range(calls // at_once):
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return calls // at_once * at_once / (time.perf_counter() - begun)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))
