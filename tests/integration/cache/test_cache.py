"""The cache on real servers: what is kept, what is forgotten, and that nothing stale stays."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine

from bedplate.cache import loading
from bedplate.cache.invalidation import Invalidation
from bedplate.delivery.relay import Relay
from bedplate.errors import CacheTypeError
from bedplate.layer import DataLayer
from tests.integration.cache.books import TTL, Book, Library

MakeLayer = Callable[..., DataLayer]


async def near_holds(layer: DataLayer, count: int) -> None:
    """Until this process holds so many entries: pushes of Redis arrive on their own."""
    async with asyncio.timeout(5):
        while len(layer.cache._near.entries) != count:  # noqa: ASYNC110 - pushed, not awaited
            await asyncio.sleep(0.001)


async def test_what_was_loaded_once_is_not_loaded_again(make_layer: MakeLayer) -> None:
    """By any process: the second finds it in Redis, and then has it at hand."""
    one, other = Library(make_layer()), Library(make_layer())
    await one.write(1, 7)
    assert await one.read(1) == Book(id=1, version=7)
    assert [await other.read(1) for _ in range(3)] == [Book(id=1, version=7)] * 3
    assert (one.loads[1], other.loads[1]) == (1, 0)
    assert (other.layer.cache.redis_hits, other.layer.cache.near_hits) == (1, 2)


async def test_nothing_is_a_value(make_layer: MakeLayer) -> None:
    """A book that does not exist must not cost a query each time somebody asks for it."""
    library = Library(make_layer())
    assert [await library.read(404) for _ in range(3)] == [None] * 3
    assert library.loads[404] == 1


async def test_two_hundred_misses_load_once(make_layer: MakeLayer) -> None:
    """Of four processes that miss at the same moment one asks PostgreSQL."""
    libraries = [Library(make_layer()) for _ in range(4)]
    await libraries[0].write(1, 1)
    found = await asyncio.gather(*(each.read(1) for each in libraries for _ in range(50)))
    assert found == [Book(id=1, version=1)] * 200
    assert sum(each.loads[1] for each in libraries) == 1


async def test_a_commit_is_seen_by_its_own_process_at_once(make_layer: MakeLayer) -> None:
    """No relay runs: whoever wrote and then reads must not get the value from before."""
    library = Library(make_layer())
    for version in range(50):
        await library.write(1, version)
        assert await library.read(1) == Book(id=1, version=version)
        assert await library.read(1) == Book(id=1, version=version)


async def test_every_process_forgets(make_layer: MakeLayer, relay: Relay) -> None:
    """Redis pushes to those who have the entry at hand."""
    one, other = Library(make_layer()), Library(make_layer())
    await one.write(1, 1)
    for _ in range(2):
        await one.read(1)
        await other.read(1)
    await near_holds(other.layer, 1)
    await one.write(1, 2)
    assert (await relay.drain()).messages == 2
    await near_holds(other.layer, 0)
    assert await other.read(1) == Book(id=1, version=2)


async def test_the_relay_guarantees_it(make_layer: MakeLayer, relay: Relay) -> None:
    """The committing process could not tell Redis; the outbox holds what is to be forgotten."""
    writer, reader = Library(make_layer()), Library(make_layer())
    await writer.write(1, 1)
    await relay.drain()
    await reader.read(1)
    await reader.read(1)
    await near_holds(reader.layer, 1)
    # Its cache was never opened: a process that writes only.
    assert writer.layer.cache._route is None
    await writer.write(1, 2)
    assert await reader.read(1) == Book(id=1, version=1)
    assert (await relay.drain()).messages == 1
    await near_holds(reader.layer, 0)
    assert await reader.read(1) == Book(id=1, version=2)


async def test_a_backlog_is_forgotten_in_few_steps(make_layer: MakeLayer) -> None:
    """Each key for itself all the same: every process loses it, and it has a floor of its own."""
    reader, teller = make_layer(), make_layer()
    loads = Counter[str]()
    keys = [f"n:{number}" for number in range(250)]

    async def read(key: str) -> int:
        async def load() -> int:
            loads[key] += 1
            return loads[key]

        return await reader.cache.get_or_load(key, load, ttl=TTL)

    for key in keys:
        await read(key)
    told = [Invalidation(key, transaction=number) for number, key in enumerate(keys, 1)]
    # Each twice: what is told again, or late, takes no floor back.
    await teller.cache.tell([*told, *(each._replace(transaction=0) for each in told)])
    await near_holds(reader, 0)
    assert [await read(key) for key in keys] == [2] * len(keys)
    redis = teller.redis.client()
    states = sorted([key async for key in redis.scan_iter("*:s")], key=_number)
    assert [await redis.hget(state, "floor") for state in states] == [
        str(each.transaction) for each in told
    ]


async def test_what_a_process_has_told_it_is_not_told_back(make_layer: MakeLayer) -> None:
    """The scripts read what they change: tracked, each would answer a relay with a push."""
    cache = make_layer().cache
    pushed: list[object] = []
    await cache.tell([Invalidation("first")])
    assert cache._route is not None
    link = cache._route.link_for("any")
    assert link is not None
    link._forgotten = pushed.append
    for number in range(1, 4):
        await cache.tell([Invalidation("key", transaction=number)])
    assert pushed == []


async def test_what_was_read_before_a_commit_is_not_stored_after_it(
    make_layer: MakeLayer, relay: Relay
) -> None:
    """The stale fill: read, then another commits and forgets, then the reader stores the old."""
    slow, writer = Library(make_layer()), Library(make_layer())
    await writer.write(1, 1)
    await relay.drain()
    slow.gate.clear()
    reading = asyncio.create_task(slow.read(1))
    await slow.has_read.wait()
    await writer.write(1, 2)
    await relay.drain()
    slow.gate.set()
    assert await reading == Book(id=1, version=1)
    assert slow.layer.cache.refused_fills == 1
    assert await slow.read(1) == await writer.read(1) == Book(id=1, version=2)


async def test_whoever_comes_after_a_commit_joins_no_load_from_before(
    make_layer: MakeLayer,
) -> None:
    """Single flight must not hand the old value to the one who has just written the new."""
    library = Library(make_layer())
    await library.write(1, 1)
    library.gate.clear()
    before = asyncio.create_task(library.read(1))
    await library.has_read.wait()
    await library.write(1, 2)
    library.gate.set()
    assert await library.read(1) == Book(id=1, version=2)
    assert await before == Book(id=1, version=1)
    assert await library.read(1) == Book(id=1, version=2)


async def test_a_tag_forgets_all_entries_that_carry_it(make_layer: MakeLayer, relay: Relay) -> None:
    """In every process, without looking for them."""
    one, other = Library(make_layer()), Library(make_layer())
    for library in (one, other, one, other):
        for book_id in (1, 2, 3):
            await library.read(book_id, tags=("shelf:1", "all") if book_id < 3 else ("all",))
    await near_holds(other.layer, 3)
    async with one.layer.transaction() as uow:
        uow.invalidate(tags=["shelf:1"])
    await relay.drain()
    await near_holds(other.layer, 1)
    for library in (one, other):
        for book_id in (1, 2, 3):
            await library.read(book_id, tags=("shelf:1", "all") if book_id < 3 else ("all",))
    assert one.loads + other.loads == {1: 2, 2: 2, 3: 1}


async def test_a_tag_forgotten_during_a_load_makes_it_a_miss(
    make_layer: MakeLayer, relay: Relay
) -> None:
    """A list that was read before the commit is dead when it arrives."""
    slow, writer = Library(make_layer()), Library(make_layer())
    slow.gate.clear()
    reading = asyncio.create_task(slow.read(1, tags=("all",)))
    await slow.has_read.wait()
    async with writer.layer.transaction() as uow:
        uow.invalidate(tags=["all"])
    await relay.drain()
    slow.gate.set()
    await reading
    await slow.read(1, tags=("all",))
    assert slow.loads[1] == 2


async def test_a_stale_value_is_served_while_one_loads_anew(make_layer: MakeLayer) -> None:
    """After its TTL an entry costs nobody a wait, when the caller agreed to that."""
    library = Library(make_layer())
    await library.write(1, 1)
    await library.read(1, ttl=timedelta(milliseconds=1), stale=TTL)
    async with library.layer.transaction() as uow:
        # Written behind the cache's back, so that what is served tells where it comes from.
        await uow.execute(
            __import__("tests.integration.cache.books", fromlist=["WRITE"]).WRITE,
            {"id": 1, "version": 2},
        )
    library.gate.clear()
    library.has_read.clear()
    served = [await library.read(1, ttl=TTL, stale=TTL) for _ in range(3)]
    assert served == [Book(id=1, version=1)] * 3
    await library.has_read.wait()
    library.gate.set()
    await asyncio.gather(*library.layer.cache._loading._refreshes)
    assert await library.read(1, ttl=TTL, stale=TTL) == Book(id=1, version=2)
    assert library.loads[1] == 2


async def test_an_entry_ends_with_its_ttl(make_layer: MakeLayer) -> None:
    """The last bound, whatever was not told; a little earlier for each, and never later."""
    library = Library(make_layer())
    await library.read(1, ttl=timedelta(milliseconds=30))
    async with asyncio.timeout(5):
        while library.loads[1] < 3:
            await library.read(1, ttl=timedelta(milliseconds=30))
    ends = {await lifetime(library, book_id) for book_id in range(2, 22)}
    assert all(0.89 <= end <= 1 for end in ends)
    assert len(ends) > 10


async def lifetime(library: Library, book_id: int) -> float:
    """The share of its TTL that Redis keeps an entry for."""
    await library.read(book_id)
    redis = library.layer.redis.client()
    (key,) = [each async for each in redis.scan_iter(f"*book:{book_id}}}*") if each[-2:] != ":s"]
    return float(await redis.pttl(key)) / 1000 / TTL.total_seconds()


async def test_another_shape_is_a_miss(make_layer: MakeLayer) -> None:
    """After a deploy that changed a model the old entries are not forced into the new one."""
    layer, other = make_layer(), make_layer()

    class Old(BaseModel):
        title: str

    class New(BaseModel):
        title: str
        pages: int = 0

    async def load_old() -> Old:
        return Old(title="Rayuela")

    async def load_new() -> New:
        return New(title="Rayuela", pages=635)

    await layer.cache.get_or_load("book", load_old, ttl=TTL, as_type=Old)
    assert await other.cache.get_or_load("book", load_new, ttl=TTL, as_type=New) == New(
        title="Rayuela", pages=635
    )


@pytest.mark.parametrize(
    "planted",
    [b"\x80\x04\x95\x0b\x00", b"", b"cos\nsystem\n(S'true'\ntR.", b"1 2 3\n{}", b"9" * 5000],
)
async def test_what_others_wrote_is_a_miss(make_layer: MakeLayer, planted: bytes) -> None:
    """A pickle, an old form, an accident by hand: it is loaded again, and nothing is executed."""
    library = Library(make_layer())
    await library.read(1)
    redis = library.layer.redis.client()
    (key,) = [each async for each in redis.scan_iter("*book:1}*") if each[-2:] != ":s"]
    await redis.set(key, planted)
    other = Library(make_layer())
    assert await other.read(1) is None
    assert other.loads[1] == 1


async def test_an_entry_whose_json_does_not_fit_is_a_miss(make_layer: MakeLayer) -> None:
    """Its head is right and its text is cut: loaded again."""
    library = Library(make_layer())
    await library.write(1, 1)
    await library.read(1)
    redis = library.layer.redis.client()
    (key,) = [each async for each in redis.scan_iter("*book:1}*") if each[-2:] != ":s"]
    whole = str(await redis.get(key))
    await redis.set(key, whole[:-4])
    other = Library(make_layer())
    assert await other.read(1) == Book(id=1, version=1)
    assert await Library(make_layer()).read(1) == Book(id=1, version=1)
    assert other.loads[1] == 1


@pytest.mark.parametrize(
    "key", ["a b\r\nSET x y", "{}{}", "ключ", "\0", "\udcff", "k" * 100_000, "%00", "a:s", "*"]
)
async def test_hostile_keys_are_keys_like_others(
    make_layer: MakeLayer, relay: Relay, key: str
) -> None:
    """Whatever a user types into a key is bounded, and is forgotten like every other."""
    layer, values = make_layer(), iter(range(10))

    async def load() -> int:
        return next(values)

    assert [await layer.cache.get_or_load(key, load, ttl=TTL) for _ in range(2)] == [0, 0]
    names = [each async for each in layer.redis.client().scan_iter("*")]
    assert all(len(name) < 300 and name.isprintable() for name in names)
    async with layer.transaction() as uow:
        uow.invalidate(key)
    assert (await relay.drain()).messages == 1
    assert await layer.cache.get_or_load(key, load, ttl=TTL) == 1


async def test_a_key_cannot_be_empty(make_layer: MakeLayer) -> None:
    """It would be everybody's."""
    with pytest.raises(ValueError, match="empty"):
        await make_layer().cache.get("", int)


async def test_keys_carry_system_and_tenant(make_layer: MakeLayer) -> None:
    """What one tenant cached another never sees, not even by a key that is made to look so."""
    layer = make_layer()
    tenants = iter(["a", "a:book", "a"])
    answers = []
    for expected, key in (("first", "book:1"), ("second", "1"), ("first", "book:1")):
        tenant = next(tenants)
        layer.cache._tenant = lambda tenant=tenant: tenant  # type: ignore[misc]  # a default

        async def load(text: str = expected) -> str:
            return text

        answers.append(await layer.cache.get_or_load(key, load, ttl=TTL))
    assert answers == ["first", "second", "first"]
    assert layer.cache.loads == 2
    keys = [each async for each in layer.redis.client().scan_iter("bp1:library:*")]
    assert len([key for key in keys if key[-2:] != ":s"]) == 2


async def test_get_loads_nothing(make_layer: MakeLayer) -> None:
    """For whoever only wants to know."""
    cache = make_layer().cache

    async def load() -> Book:
        return Book(id=1, version=5)

    assert await cache.get("book:1", Book) is None
    await cache.get_or_load("book:1", load, ttl=TTL)
    for _ in range(3):
        assert await cache.get("book:1", Book) == Book(id=1, version=5)
    assert await make_layer().cache.get("book:1", int) is None


async def test_a_loader_that_fails_fails_for_all_and_stores_nothing(
    make_layer: MakeLayer,
) -> None:
    """The next one loads at once: the lease was given back."""
    layer = make_layer()
    calls = 0

    async def fail() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise LookupError("no such book")

    failed = await asyncio.gather(
        *(layer.cache.get_or_load("book", fail, ttl=TTL) for _ in range(5)),
        return_exceptions=True,
    )
    assert [type(each) for each in failed] == [LookupError] * 5
    assert calls == 1

    async def succeed() -> int:
        return 1

    assert await make_layer().cache.get_or_load("book", succeed, ttl=TTL) == 1
    assert await layer.cache.get("book", int) == 1


async def test_a_cancelled_caller_takes_nobody_elses_answer_away(make_layer: MakeLayer) -> None:
    """The load is its own task; it ends with the last who waits for it."""
    library = Library(make_layer())
    await library.write(1, 1)
    library.gate.clear()
    first = asyncio.create_task(library.read(1))
    await library.has_read.wait()
    second = asyncio.create_task(library.read(1))
    await both_wait(library)
    first.cancel()
    library.gate.set()
    assert await second == Book(id=1, version=1)
    assert library.loads[1] == 1
    library.gate.clear()
    library.has_read.clear()
    alone = asyncio.create_task(library.read(2))
    await library.has_read.wait()
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
    assert library.layer.cache._flights._flights == {}
    library.gate.set()
    assert await Library(make_layer()).read(2) is None


async def both_wait(library: Library) -> None:
    """Until two callers wait for one load."""
    (flight,) = library.layer.cache._flights._flights.values()
    async with asyncio.timeout(5):
        while flight.waiters < 2:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0.001)


async def test_types_are_said_and_kept(make_layer: MakeLayer) -> None:
    """By annotation or as_type; what JSON cannot hold is refused at the first call."""
    layer = make_layer()

    async def annotated() -> dict[str, list[int]]:
        return {"a": [1]}

    assert await layer.cache.get_or_load("a", annotated, ttl=TTL) == {"a": [1]}
    with pytest.raises(CacheTypeError, match="does not say"):
        await layer.cache.get_or_load("b", lambda: annotated(), ttl=TTL)

    async def engine() -> Engine:
        raise AssertionError

    with pytest.raises(CacheTypeError, match="cannot be cached"):
        await layer.cache.get_or_load("c", engine, ttl=TTL)

    async def liar() -> int:
        return "no number"  # type: ignore[return-value]  # on purpose

    with pytest.raises(CacheTypeError, match="str cannot be cached"):
        await layer.cache.get_or_load("d", liar, ttl=TTL)


async def test_a_value_that_is_too_large_is_returned_and_not_kept(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection serves all: a huge value would hold up everybody else's."""
    monkeypatch.setattr(loading, "LARGEST_VALUE_BYTES", 10)
    layer = make_layer()

    async def load() -> str:
        return "x" * 20

    assert await layer.cache.get_or_load("a", load, ttl=TTL) == "x" * 20
    assert await layer.cache.get("a", str) is None


def _number(state_key: str) -> int:
    return int(state_key.split("n:")[1].split("}")[0])
