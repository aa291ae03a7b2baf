"""The Redis client on a real server, and what it says when there is none."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bedplate.cache.connections import RedisPool, get_redis_client
from bedplate.errors import RedisUnreachableError, SettingsError
from bedplate.settings import Settings


async def test_set_and_get(redis_url: str) -> None:
    """Texts go in and come out as texts, in any script."""
    async with RedisPool(redis_url) as pool:
        await pool.client().set("greeting", "¡Hola! 你好")
        assert await pool.client().get("greeting") == "¡Hola! 你好"
        assert await pool.client().get("absent") is None


async def test_ping_says_how_long_it_took(redis_url: str) -> None:
    """Health shows it."""
    async with RedisPool(redis_url) as pool:
        assert timedelta(0) < await pool.ping() < timedelta(seconds=2)


async def test_a_client_of_ones_own_closes_its_pool(redis_url: str) -> None:
    """One line for a script: make it, use it, close it."""
    client = get_redis_client(Settings.load(variables={"REDIS_URL": redis_url}))
    assert await client.ping() is True
    await client.aclose()


async def test_a_missing_url_names_its_variable() -> None:
    """One clear line instead of a connection to nowhere."""
    with pytest.raises(SettingsError, match="REDIS_URL"):
        get_redis_client(Settings.load(variables={}))


@pytest.mark.bad_day(
    "Redis cannot be reached",
    sees="the address without the password; bedplate up",
)
async def test_an_unreachable_server_is_named_without_its_password() -> None:
    """Host, port and what to do; never the secret."""
    async with RedisPool("redis://:hush@127.0.0.1:1/0") as pool:
        with pytest.raises(RedisUnreachableError, match=r"127\.0\.0\.1:1") as caught:
            await pool.ping()
        assert "hush" not in f"{caught.value}{caught.value.hint}{pool!r}"
        assert "bedplate up" in caught.value.hint


async def test_a_full_pool_waits_for_a_connection(redis_url: str) -> None:
    """A peak of requests is to be slower for a moment, and not to fail."""
    async with RedisPool(redis_url, size=1) as pool, RedisPool(redis_url) as other:
        connections: Any = pool.client().connection_pool
        held = await connections.get_connection()
        waiting = asyncio.ensure_future(pool.client().set("key", "waited"))
        assert await other.client().get("key") is None
        assert not waiting.done()
        await connections.release(held)
        await waiting
        assert await other.client().get("key") == "waited"


async def test_an_idempotent_command_survives_a_broken_connection(redis_url: str) -> None:
    """A restarted server must not cost the first read after it."""
    async with RedisPool(redis_url, size=1) as pool, RedisPool(redis_url) as other:
        own = await pool.client().client_id()
        await other.client().client_kill_filter(_id=str(own))
        assert await pool.client().get("key") is None


async def test_no_command_is_sent_on_a_connection_that_was_closed_while_idle(
    redis_url: str,
) -> None:
    """A restarted server must cost no sign-in: one that is not idempotent is not sent again."""
    async with RedisPool(redis_url) as pool, RedisPool(redis_url) as other:
        idle: Any = pool.client().connection_pool
        held = [await idle.get_connection() for _ in range(3)]
        for each in held:
            await idle.release(each)
        await other.client().client_kill_filter(_type="normal", skipme=True)
        # The end of the connections has come before its answer.
        await other.client().ping()
        numbers = await asyncio.gather(*(pool.client().incr("key") for _ in range(3)))
        assert sorted(numbers) == [1, 2, 3]


async def test_a_command_that_is_not_idempotent_is_never_sent_twice(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the first INCR arrived is not known: a second one might count double."""
    calls: list[str] = []

    async def break_down(_self: object, *args: object, **_options: object) -> None:
        calls.append(str(args[0]))
        raise RedisConnectionError("broken")

    monkeypatch.setattr("redis.asyncio.Redis.execute_command", break_down)
    async with RedisPool(redis_url) as pool:
        with pytest.raises(RedisError):
            await pool.client().incr("key")
        with pytest.raises(RedisError):
            await pool.client().get("key")
    assert calls == ["INCRBY", "GET", "GET"]
