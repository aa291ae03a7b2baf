"""The Redis database of a worker: emptied, and nobody else's touched."""

from collections.abc import Sequence

from redis.asyncio import Redis

from bedplate.cache.link import connect
from bedplate.redis_address import RedisAddress
from bedplate.testing.redis_database import BATCH, empty, with_number


async def test_every_key_is_deleted_however_many(redis_url: str) -> None:
    """Of every kind, over several batches; a database without any is emptied, too."""
    async with Redis.from_url(redis_url) as client:
        await client.mset({f"key:{number}": number for number in range(2 * BATCH + 7)})
        await client.hset("hash", "field", "value")
        await client.sadd("set", "member")
        await empty(redis_url)
        assert await client.dbsize() == 0
    await empty(redis_url)


async def test_no_near_cache_of_another_database_forgets(redis_url: str) -> None:
    """FLUSHDB tells every client that tracks keys to forget all, whatever its database.

    Tests that ran at the same time emptied each other's near caches by it.
    """
    beside = with_number(redis_url, 15)
    told: list[Sequence[str] | None] = []
    address = RedisAddress.parse(redis_url)
    host, port = address.hosts[0] if address.hosts else (None, 0)
    link = await connect(address, host, port, told.append)
    try:
        await link.send("GET", "kept")
        async with Redis.from_url(beside) as other:
            await other.set("a key of another", 1)
            await empty(beside)
            assert not await other.exists("a key of another")
        # What Redis pushes comes before its next answer.
        await link.send("PING")
        assert told == []
        await empty(redis_url)
    finally:
        await link.close()
