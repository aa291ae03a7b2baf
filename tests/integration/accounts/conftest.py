"""A Redis for sessions, and a provider for sign-ins."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from bedplate.cache.connections import RedisPool
from tests.integration.accounts.provider import LocalProvider


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of this worker's Redis."""
    async with RedisPool(redis_url) as pool:
        yield pool.client()


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    """An OpenID provider on loopback."""
    with LocalProvider() as provider:
        yield provider
