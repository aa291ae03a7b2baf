"""A Redis database for each worker of a test run, by its number; emptied between tests."""

from urllib.parse import urlsplit, urlunsplit

from bedplate.cache.connections import RedisPool


def with_number(url: str, number: int) -> str:
    """The same server, another of its databases."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{number}"))


async def empty(url: str) -> None:
    """Delete every key of the database that the URL names."""
    async with RedisPool(url, 1) as pool:
        await pool.client().flushdb()
