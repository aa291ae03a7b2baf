"""Channels on real servers: who hears what, and what is said when Redis goes and comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from bedplate.cache.channels import (
    LIVE,
    Channels,
    Heard,
    Lost,
    Numbered,
    Publication,
    Subscription,
)
from bedplate.cache.connections import RedisPool
from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.errors import RedisUnreachableError, TransactionBypassedError
from bedplate.layer import DataLayer
from tests.integration.cache.valkey import Valkey, start_cluster

PATIENCE_SECONDS = 30

MakeChannels = Callable[[str], Channels]


@pytest.fixture
async def make_channels() -> AsyncIterator[MakeChannels]:
    """Channels at a URL, as if each were a process; closed afterwards."""
    async with contextlib.AsyncExitStack() as opened:

        def make(url: str) -> Channels:
            pool = RedisPool(url)
            opened.push_async_callback(pool.close)
            channels = Channels(url, "library", pool.client)
            opened.push_async_callback(channels.close)
            return channels

        yield make


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    """A server of this test's own."""
    server = await Valkey(tmp_path / "valkey", 'save ""').start()
    yield server
    server.kill()


async def hear(heard: Subscription) -> Heard:
    """The next of a subscription; fails when there is none."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await heard.next()


async def until_live(heard: Subscription) -> list[Heard]:
    """What it says before it is live."""
    before: list[Heard] = []
    while (each := await hear(heard)) != LIVE:
        before.append(each)
    return before


async def test_each_process_hears_what_one_says(
    make_channels: MakeChannels, redis_url: str
) -> None:
    """In the order in which it was said; two subscriptions of one process hear it, too."""
    one, other = make_channels(redis_url), make_channels(redis_url)
    async with (
        one.subscribe("room") as first,
        one.subscribe("room") as second,
        other.subscribe("room") as third,
        other.subscribe("another room") as elsewhere,
    ):
        for heard in (first, second, third, elsewhere):
            assert await until_live(heard) == []
        for index in range(20):
            assert await one.publish(Publication("room", f"text {index}")) == 2
        await one.publish(Publication("another room", "for these"))
        for heard in (first, second, third):
            assert [await hear(heard) for _ in range(20)] == [f"text {i}" for i in range(20)]
        assert await hear(elsewhere) == "for these"


async def test_tenants_do_not_hear_each_other(make_channels: MakeChannels, redis_url: str) -> None:
    """A channel of the same name is another one, live and kept, and nobody's is a third."""
    channels = make_channels(redis_url)
    async with (
        channels.subscribe("room", tenant="acme") as acme,
        channels.subscribe("room", tenant="a:cme") as similar,
        channels.subscribe("room") as nobody,
    ):
        for heard in (acme, similar, nobody):
            await until_live(heard)
        for tenant in ("acme", "a:cme", None):
            await channels.publish(Publication("room", f"for {tenant}", tenant, position=1))
        assert await hear(acme) == "1 for acme"
        assert await hear(similar) == "1 for a:cme"
        assert await hear(nobody) == "1 for None"
    for tenant in ("acme", "a:cme", None):
        assert await channels.recent("room", tenant=tenant) == [Numbered(1, f"for {tenant}")]


async def test_who_ends_and_begins_again_hears_again(
    make_channels: MakeChannels, redis_url: str
) -> None:
    """The server is asked once per channel, whoever comes and goes meanwhile."""
    channels = make_channels(redis_url)
    for index in range(50):
        async with channels.subscribe("room") as heard:
            await until_live(heard)
            await channels.publish(Publication("room", f"text {index}"))
            assert await hear(heard) == f"text {index}"
            if index % 2:
                await asyncio.sleep(0)
    await channels.publish(Publication("room", "to nobody"))
    async with channels.subscribe("room") as heard:
        await until_live(heard)
        await channels.publish(Publication("room", "at last"))
        assert await hear(heard) == "at last"


async def test_the_last_ones_are_kept_by_position(
    make_channels: MakeChannels, redis_url: str
) -> None:
    """So many and no more; what is published twice is kept once."""
    channels = make_channels(redis_url)
    for position in (1, 2, 3, 3, 5, 4, 12):
        await channels.publish(Publication("room", f"text {position}", position=position, kept=4))
    await channels.publish(Publication("room", "in passing"))
    kept = await channels.recent("room")
    assert kept == [Numbered(position, f"text {position}") for position in (3, 4, 5, 12)]
    assert await channels.recent("room", after=4) == kept[2:]


async def test_a_slow_reader_is_told_and_holds_up_nobody(
    make_channels: MakeChannels, redis_url: str
) -> None:
    """It loses what it did not take, knows it, and hears what comes then."""
    channels = make_channels(redis_url)
    async with (
        channels.subscribe("room", most_waiting=10) as slow,
        channels.subscribe("room") as quick,
    ):
        await until_live(slow)
        await until_live(quick)
        for index in range(15):
            await channels.publish(Publication("room", f"text {index}"))
        assert [await hear(quick) for _ in range(15)] == [f"text {i}" for i in range(15)]
        assert isinstance(await hear(slow), Lost)
        assert await hear(slow) == LIVE
        assert [await hear(slow) for _ in range(5)] == [f"text {i}" for i in range(10, 15)]


@pytest.mark.bad_day(
    "Redis dies while channels are heard", sees="`Lost`, then `LIVE` when it is back"
)
async def test_a_server_that_dies_is_told_and_comes_back(
    make_channels: MakeChannels, valkey: Valkey
) -> None:
    """Every subscriber knows from when to when it may have missed something."""
    channels = make_channels(valkey.url)
    async with channels.subscribe("room") as heard:
        await until_live(heard)
        valkey.kill()
        assert isinstance(await hear(heard), Lost)
        with pytest.raises(RedisUnreachableError) as refused:
            await channels.publish(Publication("room", "into the void"))
        assert "REDIS_URL" in refused.value.hint
        async with channels.subscribe("room") as late:
            assert isinstance(await hear(late), Lost)
            await valkey.start()
            await until_live(late)
        await until_live(heard)
        await channels.publish(Publication("room", "back"))
        assert await hear(heard) == "back"


async def test_a_server_that_stands_still_is_told(
    make_channels: MakeChannels, valkey: Valkey
) -> None:
    """Its connection stands, and says nothing: only asking shows it."""
    channels = make_channels(valkey.url)
    async with channels.subscribe("room") as heard:
        await until_live(heard)
        valkey.stop()
        lost = await hear(heard)
        assert isinstance(lost, Lost)
        valkey.go_on()
        await until_live(heard)
        await channels.publish(Publication("room", "back"))
        assert await hear(heard) == "back"


async def test_a_cluster_tells_all_its_nodes(make_channels: MakeChannels, tmp_path: Path) -> None:
    """Whichever node one listens at; what is kept lies where its name says."""
    nodes = await start_cluster(tmp_path)
    try:
        hosts = [f"127.0.0.1:{node.port}" for node in nodes]
        one = make_channels("redis+cluster://" + ",".join(hosts))
        other = make_channels("redis+cluster://" + ",".join(reversed(hosts)))
        async with one.subscribe("room") as first, other.subscribe("room") as second:
            await until_live(first)
            await until_live(second)
            await one.publish(Publication("room", "to all", position=1))
            assert await hear(first) == await hear(second) == "1 to all"
            assert await other.recent("room") == [Numbered(1, "to all")]
    finally:
        for node in nodes:
            node.kill()


async def test_what_a_transaction_says_is_heard_when_it_commits(layer: DataLayer) -> None:
    """Not before, and never when it rolls back; by the tenant of the transaction."""
    async with layer.channels.subscribe("room", tenant="acme") as heard:
        await until_live(heard)
        with pytest.raises(LookupError):
            async with layer.transaction(tenant="acme") as uow:
                uow.publish("room", "rolled back")
                raise LookupError
        async with layer.transaction(tenant="acme") as uow:
            uow.publish("room", "committed", position=7)
            with pytest.raises(ValueError, match="NUL"):
                uow.publish("room", "a\0b")
            await uow.session.execute(text("SELECT 1"))
        assert await hear(heard) == "7 committed"
    assert await layer.channels.recent("room", tenant="acme") == [Numbered(7, "committed")]


async def test_what_a_dead_process_had_to_say_is_said_by_the_relay(
    layer: DataLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed, and its process died, or Redis was away, before it could say so."""
    monkeypatch.setattr(Channels, "publish_soon", lambda _self, _publications: None)
    async with layer.channels.subscribe("room", tenant="acme") as heard:
        await until_live(heard)
        async with layer.transaction(tenant="acme") as uow:
            uow.publish("room", "committed")
        async with Broker(layer.settings.redis()) as broker:
            assert (await Relay(layer, broker).drain()).messages == 1
        assert await hear(heard) == "committed"


async def test_saying_it_inside_a_transaction_is_refused(layer: DataLayer) -> None:
    """It would be heard whether that commits or not."""
    async with layer.transaction() as uow:
        with pytest.raises(TransactionBypassedError, match="PUBLISH"):
            await layer.channels.publish(Publication("room", "too early"))
        uow.mark_rollback("nothing to commit")
