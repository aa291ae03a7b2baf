"""Connections to Redis or Valkey: one pool and one client for short commands.

The only file that makes Redis clients. The constructor opens nothing, and a Redis that is down
stops nothing before the first command. A full pool waits, two seconds at most; a command is sent
again after a broken connection only when doing it twice is doing it once.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bedplate.errors import RedisUnreachableError
from bedplate.settings import Settings
from bedplate.urls import redact

# Short commands answer within milliseconds; who waits longer waits for a server that is ill.
COMMAND_TIMEOUT = timedelta(seconds=2)
DEFAULT_SIZE = 20

# Doing it twice is doing it once. Not EVAL, INCR, the pops and pushes, SET (it may carry NX).
IDEMPOTENT = frozenset(
    {"PING", "GET", "MGET", "EXISTS", "TTL", "PTTL", "HGET", "HGETALL", "SMEMBERS", "ZRANGE"}
)


class ShortCommands(Redis):
    """A client that sends an idempotent command once more when its connection broke."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py's."""
        send: Callable[..., Awaitable[Any]] = super().execute_command
        try:
            return await send(*args, **options)
        except RedisConnectionError:
            if str(args[0]).upper() not in IDEMPOTENT:
                raise
            return await send(*args, **options)


class RedisPool:
    """A pool of connections and its client. Use it from one event loop; `async with`, or close."""

    def __init__(self, url: str, size: int = DEFAULT_SIZE) -> None:
        self._url = url
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=size,
            timeout=COMMAND_TIMEOUT.total_seconds(),
            socket_timeout=COMMAND_TIMEOUT.total_seconds(),
            socket_connect_timeout=COMMAND_TIMEOUT.total_seconds(),
            # redis-py would send any command again, up to ten times.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._client = ShortCommands(connection_pool=self._pool)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The pool for REDIS_URL. Raises `SettingsError` when it is missing."""
        return cls(settings.redis(), settings.redis_pool_size)

    def __repr__(self) -> str:
        return f"<RedisPool {redact(self._url)}>"

    async def open(self) -> None:
        """Connect once. Raises `RedisUnreachableError`. Not needed: the first command connects."""
        await self.ping()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def client(self) -> Redis:
        """The client for short commands. Texts come back as `str`."""
        return self._client

    async def ping(self) -> timedelta:
        """One round trip: how long it took. Raises `RedisUnreachableError`."""
        started = time.perf_counter()
        try:
            await self._client.ping()
        except (RedisError, OSError) as error:
            raise _unreachable(self._url, error) from error
        return timedelta(seconds=time.perf_counter() - started)


def get_redis_client(settings: Settings | None = None) -> Redis:
    """A client of REDIS_URL with a pool of its own; `await client.aclose()` closes both.

    Raises `SettingsError` when REDIS_URL is missing.
    """
    pool = RedisPool.from_settings(settings or Settings.load())
    client = pool.client()
    client.auto_close_connection_pool = True
    return client


def _unreachable(url: str, error: Exception) -> RedisUnreachableError:
    why = "it did not answer in time" if isinstance(error, RedisTimeoutError) else str(error)
    return RedisUnreachableError(
        f"Redis at {redact(url)} cannot be reached: {redact(why)}",
        hint="Start the embedded servers with bedplate up -d, or check REDIS_URL.",
    )
