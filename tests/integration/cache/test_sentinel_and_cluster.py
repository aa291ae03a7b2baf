"""Redis behind Sentinel and as a cluster: the same cache and client, and what the broker says."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from bedplate.cache.cache import Cache
from bedplate.cache.connections import RedisPool
from bedplate.cache.invalidation import Invalidation
from bedplate.delivery.broker import Broker, WakeUp
from bedplate.delivery.relay import Relay
from bedplate.errors import RedisUnreachableError
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from tests.integration.cache.books import TTL
from tests.integration.cache.valkey import Valkey, start_cluster, start_sentinels, until


@contextlib.asynccontextmanager
async def cache_at(url: str) -> AsyncIterator[Cache]:
    """A cache that reads no rows."""
    cache = Cache(url, "library", lambda: pytest.fail("no rows here"), near_bytes=1 << 20)
    try:
        yield cache
    finally:
        await cache.close()


class Counted:
    """A loader that counts."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> int:
        self.count += 1
        return self.count


@pytest.fixture
def started() -> Iterator[list[Valkey]]:
    """What is put in here is killed."""
    servers: list[Valkey] = []
    yield servers
    for server in servers:
        server.kill()


async def test_a_cluster_holds_the_cache(tmp_path: Path, started: list[Valkey]) -> None:
    """Entries and tags lie on all masters; what changes is forgotten on each."""
    started += await start_cluster(tmp_path)
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in started[:2])
    async with cache_at(url) as one, cache_at(url) as other:
        load = Counted()
        for cache in (one, one, other, other):
            for index in range(30):
                await cache.get_or_load(f"book:{index}", load, ttl=TTL, tags=["a", "b"])
        assert load.count == 30
        assert (one.redis_hits, other.redis_hits, other.near_hits) == (30, 30, 30)
        assert all(int(str(node.ask("DBSIZE"))) > 1 for node in started)
        one.forget([Invalidation("book:7")])
        await one.get_or_load("book:7", load, ttl=TTL, tags=["a", "b"])
        await one.tell([Invalidation("a", is_tag=True)])
        for index in range(30):
            await one.get_or_load(f"book:{index}", load, ttl=TTL, tags=["a", "b"])
        assert load.count == 61
        await other.tell([Invalidation(f"book:{index}") for index in range(30)])
        for index in range(30):
            await other.get_or_load(f"book:{index}", load, ttl=TTL, tags=["a", "b"])
        assert load.count == 91
    async with RedisPool(url) as pool:
        await pool.ping()
        await pool.client().set("key", "value")
        assert await pool.client().get("key") == "value"


async def test_on_a_cluster_the_relay_tells_the_cache_and_nobody_else(
    tmp_path: Path, started: list[Valkey], layer: DataLayer
) -> None:
    """kombu knows no cluster: jobs wait for a direct worker, invalidations go out."""
    started += await start_cluster(tmp_path)
    url = SecretStr(f"redis+cluster://127.0.0.1:{started[0].port}")
    settings = layer.settings.model_copy(update={"redis_url": url})
    clustered = DataLayer(settings, name="librilabs")
    async with clustered:
        load = Counted()
        await clustered.cache.get_or_load("book:1", load, ttl=TTL)
        async with layer.transaction() as uow:
            uow.invalidate("book:1")
        assert not clustered.settings.has_broker
        assert (await Relay(clustered, None).drain()).messages == 1
        await clustered.cache.get_or_load("book:1", load, ttl=TTL)
        assert load.count == 2


async def test_sentinel_leads_to_the_master_also_after_a_failover(
    tmp_path: Path, started: list[Valkey]
) -> None:
    """The master is killed: cache, client and broker find the new one, with nothing old in it."""
    master = await Valkey(tmp_path / "master").start()
    started.append(master)
    replica = await Valkey(tmp_path / "replica", f"replicaof 127.0.0.1 {master.port}").start()
    started.append(replica)
    sentinels = await start_sentinels(tmp_path, master)
    started += sentinels
    await until(lambda: "online" in str(master.ask("INFO", "replication")), "a replica")
    for sentinel in sentinels:
        await until(lambda each=sentinel: each.ask("SENTINEL", "CKQUORUM", "main"), "a quorum")
        await until(lambda each=sentinel: each.ask("SENTINEL", "REPLICAS", "main"), "its replica")
    hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
    url = f"redis+sentinel://{hosts}/main/0"
    async with cache_at(url) as cache, RedisPool(url, size=1) as pool, Broker(url) as broker:
        load = Counted()
        await cache.get_or_load("book:1", load, ttl=TTL)
        await pool.client().set("key", "value")
        await broker.publish([WakeUp("library", "default", new_id())])
        assert await broker.waiting("library", "default") == 1
        assert int(str(master.ask("WAIT", 1, 5000))) == 1
        master.kill()
        await until(lambda: cache.bypassed_for is not None, "the cache notices")
        await until(lambda: cache.bypassed_for is None, "the cache is back", timedelta(seconds=60))
        assert await cache.get_or_load("book:1", load, ttl=TTL) == 2
        assert await pool.client().get("key") == "value"
        await until(lambda: publishes(broker), "the broker publishes")


async def publishes(broker: Broker) -> bool:
    """Whether a message goes out."""
    with contextlib.suppress(RedisUnreachableError):
        await broker.publish([WakeUp("library", "default", new_id())])
        return True
    return False
