"""A Redis database for each worker of a test run, by its number; emptied between tests."""

from urllib.parse import urlsplit, urlunsplit

from bedplate.cache.connections import RedisPool

BATCH = 1000


def with_number(url: str, number: int) -> str:
    """The same server, another of its databases."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{number}"))


async def empty(url: str) -> None:
    """Delete every key of the database that the URL names.

    Key by key: FLUSHDB would have the near caches of every process on the server forget all that
    they hold, those of other databases, too, and tests that run beside this one would see it.
    """
    async with RedisPool(url, 1) as pool:
        client = pool.client()
        batch: list[str] = []
        async for key in client.scan_iter(count=BATCH):
            batch.append(key)
            if len(batch) >= BATCH:
                await client.unlink(*batch)
                batch.clear()
        if batch:
            await client.unlink(*batch)
