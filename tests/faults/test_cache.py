"""Redis stopped, killed, old, full, emptied, far away: readers are served, and nothing stale stays.

Faults 15 to 20, 22, 23 and 27. Each test has a Valkey of its own. A reader is a layer with its own
cache, as a process is.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate import health
from bedplate.cache import cache as cache_module
from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.testing.clones import ScratchDatabase
from tests.faults.tcp_proxy import TcpProxy
from tests.integration.cache.valkey import Valkey, until

TTL = timedelta(minutes=10)
# A bound for failure: whoever waits for a stopped server waits for ever, and a busy machine takes
# its time for all. Measured: 0.1 s; 2.7 s with four times as much to do as there are cores.
BOUND_SECONDS = 20.0
WRITE = text("""
INSERT INTO fault_orders (id, note) VALUES (:id, :note)
ON CONFLICT (id) DO UPDATE SET note = excluded.note
""")
READ = text("SELECT note FROM fault_orders WHERE id = :id")

MakeLayer = Callable[..., DataLayer]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    """A server of this test's own."""
    server = await Valkey(tmp_path / "valkey", 'save ""').start()
    yield server
    server.kill()


@pytest.fixture
async def make_layer(faults_database: ScratchDatabase, valkey: Valkey) -> AsyncIterator[MakeLayer]:
    """Open layers on this test's Valkey, or on the `url` given; closed afterwards."""
    async with contextlib.AsyncExitStack() as opened:
        pending: list[DataLayer] = []

        def make(url: str | None = None) -> DataLayer:
            settings = faults_database.settings(REDIS_URL=url or valkey.url)
            layer = DataLayer(settings, name="faults")
            layer._is_open = True
            opened.push_async_callback(layer.close)
            pending.append(layer)
            return layer

        yield make


async def write(layer: DataLayer, order_id: UUID, note: str) -> None:
    """Commit a note, and have the cache forget the order."""
    async with layer.transaction() as uow:
        await uow.execute(WRITE, {"id": order_id, "note": note})
        uow.invalidate(f"order:{order_id}")


async def read(layer: DataLayer, order_id: UUID) -> str:
    """An order's note, by the cache."""

    async def load() -> str:
        async with layer.reading() as session:
            return str(await session.scalar(READ, {"id": order_id}))

    return await layer.cache.get_or_load(f"order:{order_id}", load, ttl=TTL)


async def deliver(layer: DataLayer) -> int:
    """What a relay would tell now."""
    async with Broker(layer.settings.redis()) as broker:
        return (await Relay(layer, broker).drain()).messages


async def is_in_use(layer: DataLayer) -> None:
    """Until the cache asks Redis again."""
    await until(lambda: layer.cache.bypassed_for is None, "the cache is in use")


async def stopped(valkey: Valkey, make_layer: MakeLayer, seconds: float) -> None:
    """Readers and a writer while Redis stands still; then it goes on, and all is well."""
    reader, writer = make_layer(), make_layer()
    orders = [new_id() for _ in range(20)]
    for order in orders:
        await write(writer, order, "before")
        await read(reader, order)
    await read(writer, orders[0])
    valkey.stop()
    slowest, rounds, end = 0.0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        await asyncio.gather(*(read(reader, order) for order in orders for _ in range(10)))
        slowest = max(slowest, time.perf_counter() - begun)
        rounds += 1
        await write(writer, orders[0], f"during {rounds}")
        assert await read(writer, orders[0]) == f"during {rounds}"
    assert slowest < BOUND_SECONDS
    # Once for each second that it is kept alone, whatever the number of readers.
    assert reader.cache.loads <= len(orders) * (4 + 2 * seconds)
    assert len(asyncio.all_tasks()) < 20
    report = await health.check(reader)
    assert not report.services["redis"].is_up
    assert report.is_ready
    valkey.go_on()
    for layer in (reader, writer):
        await is_in_use(layer)
    await deliver(make_layer())
    assert await read(reader, orders[0]) == await read(writer, orders[0]) == f"during {rounds}"
    assert (await health.check(reader)).services["redis"].is_up


@pytest.mark.fault(15, holds="I9 I12")
async def test_fault_15_redis_stopped_readers_go_round_it(
    valkey: Valkey, make_layer: MakeLayer
) -> None:
    """For two seconds: nobody waits for it, a key is loaded once, a write is seen at once."""
    await stopped(valkey, make_layer, 2)


@pytest.mark.fault(15, holds="I9 I12")
async def test_fault_15_redis_stopped_for_half_a_minute_piles_nothing_up(
    valkey: Valkey, make_layer: MakeLayer
) -> None:
    """As long as an operator needs: no task more at the end than at the begin."""
    await stopped(valkey, make_layer, 30)


@pytest.mark.fault(16, holds="I9", every_run=True)
async def test_fault_16_redis_killed_and_empty_is_filled_again(
    valkey: Valkey, make_layer: MakeLayer
) -> None:
    """What is written while it is away is seen by every reader, then and afterwards."""
    reader, writer, order = make_layer(), make_layer(), new_id()
    await write(writer, order, "before")
    assert [await read(reader, order) for _ in range(3)] == ["before"] * 3
    valkey.kill()
    await until(lambda: reader.cache.bypassed_for is not None, "the reader notices")
    await write(writer, order, "while it was away")
    assert await read(reader, order) == "while it was away"
    await valkey.start()
    await is_in_use(reader)
    assert await read(reader, order) == "while it was away"
    assert int(str(valkey.ask("DBSIZE"))) == 1


@pytest.mark.fault(17, holds="I9", every_run=True)
async def test_fault_17_old_entries_of_a_restarted_redis_are_never_served(
    valkey: Valkey, make_layer: MakeLayer
) -> None:
    """Its dump is from before the commit, and nobody will tell it once more what to forget."""
    reader, writer, order = make_layer(), make_layer(), new_id()
    await write(writer, order, "old")
    await deliver(writer)
    assert await read(reader, order) == "old"
    valkey.ask("SAVE")
    dump = valkey.folder / "dump.rdb"
    shutil.copy(dump, valkey.folder / "kept.rdb")
    await write(writer, order, "new")
    assert await deliver(writer) == 1
    assert await read(reader, order) == "new"
    valkey.kill()
    shutil.copy(valkey.folder / "kept.rdb", dump)
    await valkey.start()
    with valkey.client() as client:
        (key,) = [each for each in client.scan_iter("*:k:*") if not each.endswith(":s")]
        assert str(client.get(key)).endswith('"old"')
    await is_in_use(reader)
    for layer in (reader, writer, make_layer()):
        assert [await read(layer, order) for _ in range(2)] == ["new"] * 2


@pytest.mark.fault(18, holds="I9", every_run=True)
async def test_fault_18_a_cut_append_only_file_starts_and_serves_nothing_old(
    tmp_path: Path, make_layer: MakeLayer
) -> None:
    """Power went in mid record: the last invalidation is lost on its disk, which does no harm."""
    server = await Valkey(
        tmp_path / "aof", "appendonly yes", "appendfsync always", "aof-load-truncated yes"
    ).start()
    try:
        reader, writer, order = make_layer(server.url), make_layer(server.url), new_id()
        await write(writer, order, "old")
        await deliver(writer)
        assert await read(reader, order) == "old"
        file = max((server.folder / "appendonlydir").glob("*.incr.aof"))
        size = file.stat().st_size
        await write(writer, order, "new")
        await deliver(writer)
        server.kill()
        with file.open("r+b") as opened:
            opened.truncate(size + 7)
        await server.start()
        assert int(str(server.ask("DBSIZE"))) >= 1
        await is_in_use(reader)
        for layer in (reader, make_layer(server.url)):
            assert await read(layer, order) == "new"
    finally:
        server.kill()


@pytest.mark.fault(19, holds="I1 I9", every_run=True)
async def test_fault_19_a_full_redis_forgets_and_stores_nothing(
    valkey: Valkey, make_layer: MakeLayer
) -> None:
    """Refusing writes: commits go on, invalidations too, and readers get what the rows say."""
    reader, writer, order = make_layer(), make_layer(), new_id()
    await write(writer, order, "before")
    await deliver(writer)
    await read(reader, order)
    valkey.ask("CONFIG", "SET", "maxmemory", 1)
    await write(writer, order, "full")
    assert await deliver(writer) == 1
    for _ in range(3):
        assert await read(make_layer(), order) == "full"
    valkey.ask("CONFIG", "SET", "maxmemory", 0)
    late = make_layer()
    assert [await read(late, order) for _ in range(3)] == ["full"] * 3
    assert late.cache.near_hits >= 1


@pytest.mark.fault(19, holds="I9", every_run=True)
async def test_fault_19_evicted_entries_are_misses(valkey: Valkey, make_layer: MakeLayer) -> None:
    """Evicting: whatever of an entry, its lease, its tags goes, the rows are served."""
    reader, writer = make_layer(), make_layer()
    orders = [new_id() for _ in range(200)]
    async with writer.transaction() as uow:
        for order in orders:
            await uow.execute(WRITE, {"id": order, "note": str(order)})
    used = valkey.client().info("memory")["used_memory"]
    valkey.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    valkey.ask("CONFIG", "SET", "maxmemory", used + 20_000)
    for _ in range(2):
        for order in orders:
            assert await read(reader, order) == str(order)
    await write(writer, orders[0], "changed")
    await deliver(writer)
    assert await read(make_layer(), orders[0]) == "changed"


@pytest.mark.fault(20, holds="I9", every_run=True)
async def test_fault_20_flushall_is_a_cold_cache_and_no_more(
    valkey: Valkey, make_layer: MakeLayer
) -> None:
    """Also while a load is on its way: its lease is gone, and it stores nothing."""
    reader, writer, order = make_layer(), make_layer(), new_id()
    await write(writer, order, "before")
    await deliver(writer)
    for _ in range(2):
        await read(reader, order)
    assert len(reader.cache._near.entries) == 1
    valkey.ask("FLUSHALL")
    await until(lambda: not reader.cache._near.entries, "the process forgets, too")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def load() -> str:
        begun.set()
        await go_on.wait()
        return "before"

    slow = asyncio.create_task(make_layer().cache.get_or_load(f"order:{order}", load, ttl=TTL))
    await begun.wait()
    await write(writer, order, "after")
    valkey.ask("FLUSHALL")
    go_on.set()
    assert await slow == "before"
    assert await read(reader, order) == "after"


@pytest.mark.fault(22, holds="I9", every_run=True)
async def test_fault_22_a_redis_that_vanished_is_noticed_without_being_asked(
    valkey: Valkey, make_layer: MakeLayer, proxy_before: Callable[[str], TcpProxy]
) -> None:
    """Half open: no reset ever comes. What this process has at hand is dropped all the same."""
    proxy = proxy_before(valkey.url)
    reader, writer, order = make_layer(proxy.in_url(valkey.url)), make_layer(), new_id()
    await write(writer, order, "before")
    await deliver(writer)
    assert [await read(reader, order) for _ in range(3)] == ["before"] * 3
    proxy.is_black_hole = True
    await write(writer, order, "after")
    await deliver(writer)
    await until(lambda: reader.cache.bypassed_for is not None, "the heartbeat misses")
    assert await read(reader, order) == "after"
    proxy.heal()
    await is_in_use(reader)
    assert await read(reader, order) == "after"


@pytest.mark.fault(23, holds="I9 I12", every_run=True)
async def test_fault_23_a_slow_redis_is_gone_round_until_it_is_fast(
    valkey: Valkey, make_layer: MakeLayer, proxy_before: Callable[[str], TcpProxy]
) -> None:
    """200 ms each way is slower than PostgreSQL: nobody waits for it twice."""
    proxy = proxy_before(valkey.url)
    reader, writer, order = make_layer(proxy.in_url(valkey.url)), make_layer(), new_id()
    await write(writer, order, "before")
    assert await read(reader, order) == "before"
    proxy.latency = 0.2
    # Another key than what is at hand, so that Redis is asked.
    await read(reader, new_id())
    assert reader.cache.bypassed_for is not None
    begun = time.perf_counter()
    for _ in range(50):
        await read(reader, new_id())
    assert time.perf_counter() - begun < 50 * 0.2
    await write(reader, order, "after")
    assert await read(reader, order) == "after"
    proxy.heal()
    await is_in_use(reader)
    assert [await read(layer, order) for layer in (reader, make_layer())] == ["after"] * 2


@pytest.mark.fault(27, holds="I9", every_run=True)
async def test_fault_27_what_a_lagging_replica_says_is_not_stored(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read after the invalidation and is older: the floor of the entry keeps it out.

    The replica is a snapshot from before the commit, which says of itself what a standby does.
    """
    monkeypatch.setattr(
        cache_module,
        "SEEN_BELOW",
        text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"),
    )
    layer, order = make_layer(), new_id()
    await write(layer, order, "old")
    await deliver(layer)

    async def select(session: AsyncSession) -> str:
        return str(await session.scalar(READ, {"id": order}))

    async with lagging(layer) as replica:
        await write(layer, order, "new")
        await deliver(layer)
        key = f"order:{order}"
        for tags in ((), ("all",)):
            async with layer.transaction() as uow:
                uow.invalidate(key, tags=["all"])
            await deliver(layer)
            said = await layer.cache.get_or_read(
                key, select, ttl=TTL, tags=tags, reading=lambda: replica
            )
            assert said == "old"
            assert await layer.cache.get(key, str, tags=tags) is None
        # As soon as it has caught up it may fill.
        assert await layer.cache.get_or_read(key, select, ttl=TTL) == "new"
        assert await layer.cache.get(key, str) == "new"


@contextlib.asynccontextmanager
async def lagging(layer: DataLayer) -> AsyncIterator[AbstractAsyncContextManager[AsyncSession]]:
    """A session that sees the rows as they are now, for as long as the block takes."""
    engine = layer.database.engine.execution_options(isolation_level="REPEATABLE READ")
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT 1"))
        yield contextlib.nullcontext(session)
        await session.rollback()
