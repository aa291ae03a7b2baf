"""Connections to Redis or Valkey: one pool and one client for short commands.

The only file that makes redis-py's clients: for one server, for the master that Sentinel names, or
for a cluster, by the URL's scheme (see `redis_address.py`). The constructor opens nothing, and a
Redis that is down stops nothing before the first command. A full pool waits, two seconds at most;
a command is sent again after a broken connection only when doing it twice is doing it once.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, cast

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bedplate.errors import RedisUnreachableError
from bedplate.guard import check_redis, check_redis_pipeline
from bedplate.redis_address import RedisAddress
from bedplate.settings import Settings
from bedplate.urls import redact

# Short commands answer within milliseconds; who waits longer waits for a server that is ill.
COMMAND_TIMEOUT = timedelta(seconds=2)
# Each sentinel in turn is asked: one that is gone must not use up the time of the others.
SENTINEL_TIMEOUT = timedelta(milliseconds=500)
DEFAULT_SIZE = 20

# Doing it twice is doing it once. Not EVAL, INCR, the pops and pushes, SET (it may carry NX).
IDEMPOTENT = frozenset(
    {"PING", "GET", "MGET", "EXISTS", "TTL", "PTTL", "HGET", "HGETALL", "SMEMBERS", "ZRANGE"}
)


class ShortCommands(Redis):
    """A client that sends an idempotent command once more when its connection broke."""

    # Where its Redis is, for the words of an error; without the password.
    address = "an unknown address"

    async def ping(self, **options: Any) -> bool:
        """Whether Redis answers. Raises `RedisUnreachableError`: where it should, what to do."""
        try:
            return bool(await super().ping(**options))
        except (RedisError, OSError) as error:
            raise _unreachable(self.address, error) from error

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py's."""
        check_redis(args)
        send: Callable[..., Awaitable[Any]] = super().execute_command
        try:
            return await send(*args, **options)
        except RedisConnectionError:
            if str(args[0]).upper() not in IDEMPOTENT:
                raise
            return await send(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """As redis-py's."""
        return ShortPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class ShortPipeline(Pipeline):
    """Several commands in one round trip."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """As redis-py's."""
        check_redis_pipeline(self)
        return await super().execute(raise_on_error)


class ShortClusterCommands(RedisCluster):
    """A cluster's client, which has the same commands; keys of one command share a hash tag."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As redis-py's."""
        check_redis(args)
        return await super().execute_command(*args, **options)


class WaitingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master that Sentinel names; a full pool waits, as the plain one does."""

    # Of redis-py's two, the one says whom to connect to and the other hands connections out.
    get_connection = BlockingConnectionPool.get_connection
    release = BlockingConnectionPool.release


class RedisPool:
    """A pool of connections and its client. Use it from one event loop; `async with`, or close."""

    def __init__(self, url: str, size: int = DEFAULT_SIZE) -> None:
        self._url = url
        self._client = _client(RedisAddress.parse(url), url, size)
        if isinstance(self._client, ShortCommands):
            self._client.address = redact(url)

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
        if isinstance(self._client, Redis):
            pool = self._client.connection_pool
            await pool.aclose()
            if isinstance(pool, SentinelConnectionPool):
                await _close_all(pool.sentinel_manager)

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
        """The client for short commands. Texts come back as `str`.

        For a cluster it is redis-py's `RedisCluster`, which has the same commands.
        """
        return cast("Redis", self._client)

    async def ping(self) -> timedelta:
        """One round trip: how long it took. Raises `RedisUnreachableError`."""
        started = time.perf_counter()
        try:
            await self._client.ping()
        except RedisUnreachableError:
            raise
        except (RedisError, OSError) as error:
            # Of a cluster's client, which is not ours.
            raise _unreachable(self._url, error) from error
        return timedelta(seconds=time.perf_counter() - started)


def get_redis_client(settings: Settings | None = None) -> Redis:
    """A client of REDIS_URL with a pool of its own; `await client.aclose()` closes both.

    Raises `SettingsError` when REDIS_URL is missing.
    """
    pool = RedisPool.from_settings(settings or Settings.load())
    client = pool.client()
    if isinstance(client, Redis):
        client.auto_close_connection_pool = True
    return client


async def find_master(address: RedisAddress) -> tuple[str, int]:
    """Where the master is, by the first sentinel that knows. Raises redis-py's `RedisError`."""
    sentinel = _sentinel(address)
    try:
        host, port = await sentinel.discover_master(address.master)
    finally:
        await _close_all(sentinel)
    return str(host), int(port)


async def connect_listener(url: str, attempt: int) -> Connection:
    """One connection, made and entered, for who listens. Raises redis-py's `RedisError`, `OSError`.

    To the server, to the master that Sentinel names, or to a node of the cluster: `attempt` counts,
    so that one that is down is followed by the next.
    """
    address = RedisAddress.parse(url)
    if address.kind == "sentinel":
        url = address.url_of(*await find_master(address))
    elif address.kind == "cluster":
        url = address.url_of(*address.hosts[attempt % len(address.hosts)])
    seconds = COMMAND_TIMEOUT.total_seconds()
    pool: Any = ConnectionPool.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        # Messages come as answers do, so one reader takes both.
        protocol=2,
    )
    connection: Any = pool.make_connection()
    await connection.connect()
    return cast("Connection", connection)


def _client(address: RedisAddress, url: str, size: int) -> Redis | RedisCluster:
    if address.kind == "single":
        return ShortCommands(connection_pool=BlockingConnectionPool.from_url(url, **_options(size)))
    if address.kind == "sentinel":
        sentinel = _sentinel(address)
        return cast(
            "Redis",
            sentinel.master_for(
                address.master,
                redis_class=ShortCommands,
                connection_pool_class=WaitingSentinelPool,
                db=address.database,
                username=address.user,
                password=address.password,
                ssl=address.is_tls,
                **_options(size),
            ),
        )
    options = _options(size)
    del options["timeout"]
    del options["retry"]
    return ShortClusterCommands(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        username=address.user,
        password=address.password,
        ssl=address.is_tls,
        **options,
    )


def _options(size: int) -> dict[str, Any]:
    seconds = COMMAND_TIMEOUT.total_seconds()
    return {
        "max_connections": size,
        "timeout": seconds,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        # redis-py would send any command again, up to ten times.
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        # With 3, redis-py 8.1 hands out connections that the server has closed (its issue 4252).
        "protocol": 2,
    }


def _sentinel(address: RedisAddress) -> Sentinel:
    user, password = address.sentinel_credentials
    return Sentinel(  # type: ignore[no-untyped-call]  # redis-py says no types here
        list(address.hosts),
        sentinel_kwargs={
            "socket_timeout": SENTINEL_TIMEOUT.total_seconds(),
            "socket_connect_timeout": SENTINEL_TIMEOUT.total_seconds(),
            "retry": Retry(NoBackoff(), 0),
            "username": user,
            "password": password,
            "ssl": address.is_tls,
        },
    )


async def _close_all(sentinel: Sentinel) -> None:
    for each in sentinel.sentinels:
        await each.aclose()


def _unreachable(url: str, error: Exception) -> RedisUnreachableError:
    why = "it did not answer in time" if isinstance(error, RedisTimeoutError) else str(error)
    return RedisUnreachableError(
        f"Redis at {redact(url)} cannot be reached: {redact(why)}",
        hint="Start the embedded servers with bedplate up -d, or check REDIS_URL.",
    )
