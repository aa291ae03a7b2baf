"""That a worker of a system is there: a key of Redis, which it renews while it lives.

A job that nobody takes says so only when it is late; this says it before there is one. Renewed by
Celery's workers, read by health.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bedplate.cache.connections import RedisPool
from bedplate.errors import RedisUnreachableError
from bedplate.settings import Settings

EVERY = timedelta(seconds=5)
# Two renewals may fail before a worker is taken to be gone.
LASTS = timedelta(seconds=16)


async def announce(settings: Mapping[str, Settings]) -> None:
    """Say it once of each of these systems, by its settings; nothing where Redis is away."""
    for system, its in settings.items():
        async with RedisPool.from_settings(its) as pool:
            with suppress(RedisUnreachableError):
                await renew(pool.client(), system)


async def keep(redis: Redis, system: str) -> None:
    """Say it again and again, until cancelled; while Redis is away, nothing is said."""
    while True:
        with suppress(RedisUnreachableError):
            await renew(redis, system)
        await asyncio.sleep(EVERY.total_seconds())


async def renew(redis: Redis, system: str) -> None:
    """Say that a worker of this system is there. Raises `RedisUnreachableError`."""
    try:
        await redis.set(_key(system), "1", ex=LASTS)
    except (RedisError, OSError) as error:
        raise _unreachable() from error


async def is_there(redis: Redis, system: str) -> bool:
    """Whether one has said so lately. Raises `RedisUnreachableError`."""
    try:
        return bool(await redis.exists(_key(system)))
    except (RedisError, OSError) as error:
        raise _unreachable() from error


def _key(system: str) -> str:
    return f"{system}:worker"


def _unreachable() -> RedisUnreachableError:
    return RedisUnreachableError(
        "whether a worker is there cannot be asked: Redis does not answer",
        hint="Start Redis, or check REDIS_URL.",
    )
