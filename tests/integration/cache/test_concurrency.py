"""Random readers and writers at once: when they rest, no entry says what its row does not.

The same run with the usual order, in which a fill asks for no lease, is the proof that this test
would find a stale entry.
"""

import asyncio
import hashlib
import os
import random
import secrets
from collections.abc import Callable, Sequence

import pytest

from bedplate.cache import link, scripts
from bedplate.cache.scripts import FILL
from bedplate.delivery.actions import ACTIONS, invalidate
from bedplate.delivery.broker import Broker
from bedplate.delivery.outbox import Message
from bedplate.delivery.relay import Relay
from bedplate.layer import DataLayer
from tests.integration.cache.books import Book, Library

BOOKS = 8
READERS = 4
WRITES = 150

# What is usual: whoever has loaded stores, whatever was forgotten meanwhile.
NAIVE_FILL = """
local fresh = tonumber(ARGV[2])
if fresh <= 0 then return 0 end
redis.call('HDEL', KEYS[2], 'token', 'until')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1],
  string.format('%d %d ', now + fresh, now + fresh) .. ARGV[5], 'PX', fresh)
return 1
"""


@pytest.fixture
def chance() -> random.Random:
    """Random numbers; a failure shows the seed, and CACHE_SEED repeats it."""
    seed = int(os.environ.get("CACHE_SEED") or secrets.randbelow(10**9))
    print(f"CACHE_SEED={seed}")  # noqa: T201 - pytest shows it when a test fails
    return random.Random(seed)  # noqa: S311 - it is to be repeatable


async def stale_at_rest(make_layer: Callable[..., DataLayer], chance: random.Random) -> int:
    """How many entries differ from their rows after readers, writers and a relay that dies."""
    libraries = [Library(make_layer()) for _ in range(READERS)]
    writers = [Library(make_layer()) for _ in range(2)]
    for book_id in range(BOOKS):
        await writers[0].write(book_id, 0)
    is_over = asyncio.Event()
    relay_layer = make_layer()

    async def keep_reading(library: Library) -> None:
        while not is_over.is_set():
            await library.read(chance.randrange(BOOKS), tags=("all",))
            # What a loader takes: other processes run between its read and its fill.
            await asyncio.sleep(chance.choice((0, 0, 0.001)))

    async def keep_writing(library: Library, first: int) -> None:
        for version in range(first, first + WRITES):
            await library.write(chance.randrange(BOOKS), version)
            await asyncio.sleep(chance.choice((0, 0.001)))

    async def keep_relaying() -> None:
        async with Broker(relay_layer.settings.redis()) as broker:
            while not is_over.is_set():
                # One that dies after it has told, and another that tells once more.
                actions = dict.fromkeys(
                    ACTIONS, tell_and_die if chance.random() < 0.5 else invalidate
                )
                await Relay(relay_layer, broker, actions=actions).drain()
                await asyncio.sleep(chance.choice((0, 0.001, 0.01)))

    others = [asyncio.create_task(keep_reading(each)) for each in libraries]
    others.append(asyncio.create_task(keep_relaying()))
    await asyncio.gather(
        *(keep_writing(each, 1 + index * WRITES) for index, each in enumerate(writers))
    )
    is_over.set()
    await asyncio.gather(*others)
    async with Broker(relay_layer.settings.redis()) as broker:
        await Relay(relay_layer, broker).drain()
    await settled(libraries)
    stale = 0
    for library in libraries:
        for book_id in range(BOOKS):
            kept = await library.read(book_id, tags=("all",))
            stale += kept != await library.load(book_id)
    return stale


async def tell_and_die(layer: DataLayer, messages: Sequence[Message]) -> None:
    """Told, and not noted: as a relay that is killed between the two."""
    await invalidate(layer, messages)
    raise ConnectionResetError("died")


async def settled(libraries: list[Library]) -> None:
    """Until every process has heard all that Redis had to say: an answer comes after it."""
    for library in libraries:
        route = library.layer.cache._route
        assert route is not None
        link = route.link_for("any")
        assert link is not None
        await link.send("PING")


async def test_nothing_is_stale_at_rest(
    make_layer: Callable[..., DataLayer], chance: random.Random
) -> None:
    """300 commits, four readers with caches of their own, a relay that dies every other time."""
    assert await stale_at_rest(make_layer, chance) == 0


async def test_the_usual_order_leaves_stale_entries(
    make_layer: Callable[..., DataLayer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read, then another commits and forgets, then fill: without the lease the old value stays.

    That the run above finds none is worth something only because this one does.
    """
    naive = tuple(NAIVE_FILL if script == FILL else script for script in scripts.ALL)
    digest = hashlib.sha1(NAIVE_FILL.encode()).hexdigest()  # noqa: S324 - EVALSHA's
    monkeypatch.setattr(link, "ALL", naive)
    monkeypatch.setitem(link.DIGESTS, FILL, digest)
    slow, writer = Library(make_layer()), Library(make_layer())
    await writer.write(1, 1)
    slow.gate.clear()
    reading = asyncio.create_task(slow.read(1))
    await slow.has_read.wait()
    await writer.write(1, 2)
    relay_layer = make_layer()
    async with Broker(relay_layer.settings.redis()) as broker:
        await Relay(relay_layer, broker).drain()
    slow.gate.set()
    await reading
    assert await Library(make_layer()).read(1) == Book(id=1, version=1)
