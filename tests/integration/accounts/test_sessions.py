"""Web sessions: who has the token is signed in, until the session ends; Redis says when."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from bedplate.accounts.sessions import WebSessions
from bedplate.cache.connections import RedisPool
from bedplate.errors import RedisUnreachableError


async def test_a_session_outlives_the_process_that_began_it(redis: Redis) -> None:
    """Another API process, or the same one after a restart, knows who is signed in."""
    token = await WebSessions(redis, "shop").begin("ada", {"role": "admin"})
    session = await WebSessions(redis, "shop").read(token)
    assert session is not None
    assert (session.user_id, session.values) == ("ada", {"role": "admin"})


async def test_a_logout_ends_a_session_at_once(redis: Redis) -> None:
    """Its token is worth nothing anywhere, and other sessions go on."""
    sessions = WebSessions(redis, "shop")
    first, second = await sessions.begin("ada"), await sessions.begin("ada")
    await sessions.end(first)
    assert await sessions.read(first) is None
    assert await sessions.read(second) is not None


async def test_a_user_is_signed_out_everywhere(redis: Redis) -> None:
    """After a theft, or when an account is closed."""
    sessions = WebSessions(redis, "shop")
    tokens = [await sessions.begin("ada") for _ in range(3)]
    other = await sessions.begin("grace")
    assert await sessions.end_all("ada") == 3
    assert [await sessions.read(token) for token in tokens] == [None, None, None]
    assert await sessions.read(other) is not None


async def test_every_login_has_a_new_token(redis: Redis) -> None:
    """A token that a stranger planted before the login is not the one after it."""
    sessions = WebSessions(redis, "shop")
    assert await sessions.begin("ada") != await sessions.begin("ada")


async def test_redis_itself_ends_an_idle_session(redis: Redis) -> None:
    """The server has the deadline: no process of ours needs to be there. Reading moves it."""
    sessions = WebSessions(redis, "shop", idle=timedelta(minutes=10))
    token = await sessions.begin("ada")
    (key,) = [key async for key in redis.scan_iter("shop:session:*")]
    assert 590 < await redis.ttl(key) <= 600
    await redis.expire(key, 5)
    assert await sessions.read(token) is not None
    assert 590 < await redis.ttl(key) <= 600
    await redis.pexpire(key, 1)
    while await redis.exists(key):
        pass
    assert await sessions.read(token) is None


async def test_a_session_that_is_used_for_ever_ends_all_the_same(redis: Redis) -> None:
    """However busy it is: who stole it has it for so long and no longer."""
    sessions = WebSessions(redis, "shop", longest=timedelta(days=30))
    token = await sessions.begin("ada")
    (key,) = [key async for key in redis.scan_iter("shop:session:*")]
    seconds = int((await redis.time())[0])
    assert abs(int(await redis.hget(key, "ends") or 0) - seconds - 30 * 86400) < 60
    await redis.hset(key, "ends", seconds + 50)
    assert await sessions.read(token) is not None
    assert await redis.ttl(key) <= 50
    await redis.hset(key, "ends", seconds - 1)
    assert await sessions.read(token) is None
    assert not await redis.exists(key)


async def test_a_stolen_dump_opens_no_session(redis: Redis) -> None:
    """Redis holds digests of tokens, and no token."""
    token = await WebSessions(redis, "shop").begin("ada")
    keys = [key async for key in redis.scan_iter("*")]
    assert keys
    for key in keys:
        assert token not in key
        assert token not in str(await redis.dump(key) if "session:" not in key else "")
        assert await WebSessions(redis, "shop").read(key.rsplit(":", 1)[-1]) is None


async def test_a_session_of_one_system_is_none_of_another(redis: Redis) -> None:
    """They share a Redis, and no users."""
    token = await WebSessions(redis, "shop").begin("ada")
    assert await WebSessions(redis, "library").read(token) is None


async def test_without_redis_nobody_is_signed_in() -> None:
    """Sessions fail closed, with a word that says why."""
    async with RedisPool("redis://127.0.0.1:1/0") as pool:
        sessions = WebSessions(pool.client(), "shop")
        with pytest.raises(RedisUnreachableError, match="sessions cannot be read"):
            await sessions.read("a token")
        with pytest.raises(RedisUnreachableError):
            await sessions.begin("ada")
