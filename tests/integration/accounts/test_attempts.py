"""How often a password may be tried, counted in Redis for all processes."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from bedplate.accounts.attempts import AttemptLimits, Attempts
from bedplate.cache.connections import RedisPool
from bedplate.errors import RedisUnreachableError, TooManyAttemptsError

LIMITS = AttemptLimits(account_and_address=3, account=5, address=7)


@pytest.fixture
def attempts(redis: Redis) -> Attempts:
    """With bounds that a test can reach."""
    return Attempts(redis, "test", LIMITS)


async def tried(attempts: Attempts, account: str, address: str, times: int = 1) -> int:
    """How many of these attempts were let through."""
    through = 0
    for _ in range(times):
        try:
            await attempts.begin(account, address)
        except TooManyAttemptsError:
            continue
        through += 1
    return through


async def test_an_account_is_tried_so_often_from_one_address(attempts: Attempts) -> None:
    """And not more often for being written differently; others are let through."""
    assert await tried(attempts, "ann@example.org", "10.0.0.1", 5) == 3
    assert await tried(attempts, " ANN@example.org", "10.0.0.1") == 0
    assert await tried(attempts, "bob@example.org", "10.0.0.1") == 1
    assert await tried(attempts, "ann@example.org", "10.0.0.2") == 1


async def test_an_account_is_tried_so_often_from_all_addresses_together(
    attempts: Attempts,
) -> None:
    """A thousand addresses do not get a thousand times as many."""
    total = [await tried(attempts, "ann@example.org", f"10.0.0.{each}") for each in range(9)]
    assert sum(total) == 5


async def test_an_address_tries_so_many_accounts(attempts: Attempts) -> None:
    """One password for every account."""
    total = [await tried(attempts, f"{each}@example.org", "10.0.0.1") for each in range(9)]
    assert sum(total) == 7


async def test_many_at_once_are_not_let_through(attempts: Attempts) -> None:
    """Counted before the password is compared, in one step of the server."""
    total = await asyncio.gather(
        *(tried(attempts, "ann@example.org", "10.0.0.1") for _ in range(20))
    )
    assert sum(total) == 3


async def test_who_is_refused_is_told_when_and_waits_no_longer_for_asking(
    attempts: Attempts, redis: Redis
) -> None:
    """Retry-After is true: attempts that are refused do not move the end."""
    await tried(attempts, "ann@example.org", "10.0.0.1", 3)
    for key in await redis.keys("*attempts*"):
        await redis.expire(key, 100)
    for _ in range(20):
        with pytest.raises(TooManyAttemptsError) as caught:
            await attempts.begin("ann@example.org", "10.0.0.1")
        wait = caught.value.data["retry_after"]
        assert timedelta(seconds=60) < wait <= timedelta(seconds=100)


async def test_a_success_forgets_the_failures_from_there(attempts: Attempts) -> None:
    """Who mistypes twice and then remembers begins anew; a stranger elsewhere does not."""
    await tried(attempts, "ann@example.org", "10.0.0.9", 2)
    for _ in range(6):
        assert await tried(attempts, "ann@example.org", "10.0.0.1") == 1
        await attempts.succeed("ann@example.org", "10.0.0.1")
    assert await tried(attempts, "ann@example.org", "10.0.0.9", 5) == 1


async def test_the_period_ends_by_itself_and_no_name_is_kept(
    attempts: Attempts, redis: Redis
) -> None:
    """A stolen dump of Redis names nobody who tried to sign in."""
    await tried(attempts, "ann@example.org", "10.0.0.1", 2)
    keys = await redis.keys("*attempts*")
    assert len(keys) == 3
    for key in keys:
        assert 0 < await redis.ttl(key) <= LIMITS.period.total_seconds()
        assert "ann" not in key
        assert "10.0" not in key


async def test_systems_count_apart(redis: Redis, attempts: Attempts) -> None:
    """They share a Redis, not their users."""
    await tried(attempts, "ann@example.org", "10.0.0.1", 3)
    assert await tried(Attempts(redis, "other", LIMITS), "ann@example.org", "10.0.0.1") == 1


async def test_without_redis_nobody_tries() -> None:
    """What cannot be counted is refused, with words of ours."""
    async with RedisPool("redis://127.0.0.1:1/0") as pool:
        attempts = Attempts(pool.client(), "test")
        with pytest.raises(RedisUnreachableError):
            await attempts.begin("ann@example.org", "10.0.0.1")
        with pytest.raises(RedisUnreachableError):
            await attempts.succeed("ann@example.org", "10.0.0.1")
