"""Who is there, by the clock of a real server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bedplate.cache.connections import RedisPool
from bedplate.cache.presence import Place, Presence, Present
from bedplate.errors import RedisUnreachableError
from tests.integration.cache.valkey import until

ROOM = Place("room", "acme")
ANN, BEN = Present("ann", '{"name": "Ann"}'), Present("ben", '{"name": "Ben"}')


@pytest.fixture
async def pool(redis_url: str) -> AsyncIterator[RedisPool]:
    """Connections to this worker's Redis."""
    async with RedisPool(redis_url) as opened:
        yield opened


async def test_a_member_comes_once_and_goes_with_its_last_connection(pool: RedisPool) -> None:
    """Two browser tabs are one person."""
    presence = Presence(pool.client(), "library")
    assert await presence.enter(ROOM, "tab 1", ANN) is True
    assert await presence.enter(ROOM, "tab 2", ANN) is False
    assert await presence.enter(ROOM, "tab 3", BEN) is True
    assert await presence.present(ROOM) == [ANN, BEN]
    assert await presence.leave(ROOM, "tab 1") is False
    assert await presence.leave(ROOM, "tab 2") is True
    assert await presence.leave(ROOM, "tab 2") is False
    assert await presence.present(ROOM) == [BEN]


async def test_places_of_other_tenants_are_other_places(pool: RedisPool) -> None:
    """The same name, and nobody of the others in it."""
    presence = Presence(pool.client(), "library")
    await presence.enter(ROOM, "tab", ANN)
    assert await presence.present(Place("room", "other")) == []
    assert await presence.present(Place("room")) == []


async def test_two_who_come_at_once_come_once(pool: RedisPool) -> None:
    """Exactly one of them is told to announce it; of those who go, one, too."""
    presence = Presence(pool.client(), "library")
    tabs = [f"tab {index}" for index in range(10)]
    came = await asyncio.gather(*(presence.enter(ROOM, tab, ANN) for tab in tabs))
    assert sum(came) == 1
    went = await asyncio.gather(*(presence.leave(ROOM, tab) for tab in tabs))
    assert sum(went) == 1


async def test_who_says_nothing_is_gone_and_told_once(pool: RedisPool) -> None:
    """Its process died: another one says so, and only one of them does."""
    presence = Presence(pool.client(), "library", lasts=timedelta(milliseconds=300))
    patient = Presence(pool.client(), "library", lasts=timedelta(minutes=1))
    await presence.enter(ROOM, "tab 1", ANN)
    await patient.enter(ROOM, "tab 2", BEN)

    async def is_gone() -> bool:
        return await patient.present(ROOM) == [BEN]

    await until(is_gone, "Ann's time is over")
    told = await asyncio.gather(*(patient.sweep(ROOM) for _ in range(5)))
    assert sorted(told, key=len) == [[], [], [], [], [ANN]]


async def test_staying_brings_back_what_redis_has_forgotten(pool: RedisPool) -> None:
    """A Redis that was emptied knows after one beat who is there."""
    presence = Presence(pool.client(), "library")
    await presence.enter(ROOM, "tab 1", ANN)
    async for key in pool.client().scan_iter(match="library:presence:*"):
        await pool.client().delete(key)
    assert await presence.present(ROOM) == []
    await presence.stay(ROOM, {"tab 1": ANN, "tab 2": BEN})
    assert await presence.present(ROOM) == [ANN, BEN]


async def test_without_redis_it_is_said() -> None:
    """And not that nobody is there."""
    async with RedisPool("redis://127.0.0.1:1/0") as away:
        with pytest.raises(RedisUnreachableError, match="who is there"):
            await Presence(away.client(), "library").present(ROOM)
