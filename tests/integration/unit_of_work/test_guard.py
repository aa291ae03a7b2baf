"""What goes round an open transaction is noticed, and its line is named."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from celery import Celery
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from bedplate import guard, outside_transaction
from bedplate.delivery.broker import Broker, WakeUp
from bedplate.errors import TransactionBypassedError
from bedplate.files.clients import client_of
from bedplate.files.file_store import NewFile
from bedplate.files.transfer import delete_file
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from bedplate.testing import assert_stored
from bedplate.testing.clones import ScratchDatabase

app = Celery("shop", broker="memory://", set_as_current=False)
eager = Celery("shop", broker="memory://", set_as_current=False, task_always_eager=True)
Call = Callable[[DataLayer], Awaitable[object]]


@app.task(name="shop.mail", shared=False)  # type: ignore[untyped-decorator]  # Celery's
def mail() -> None:
    """Is never run: nobody consumes."""


@eager.task(name="shop.mail_at_once", shared=False)  # type: ignore[untyped-decorator]  # Celery's
def mail_at_once() -> None:
    """Runs where it is sent."""


async def delete_key(layer: DataLayer) -> None:
    """The usual way to forget a cached row."""
    await layer.redis.client().delete("order:1")


async def delete_by_pipeline(layer: DataLayer) -> None:
    """Several at once."""
    async with layer.redis.client().pipeline() as pipeline:
        pipeline.get("order:1")
        pipeline.delete("order:1")
        await pipeline.execute()


async def set_by_a_client_of_ones_own(layer: DataLayer) -> None:
    """Not made by the layer."""
    async with Redis.from_url(layer.settings.redis()) as client:
        await client.set("order:1", "tea")


async def push_by_a_blocking_client(layer: DataLayer) -> None:
    """In a thread."""
    with BlockingRedis.from_url(layer.settings.redis()) as client:
        await asyncio.to_thread(client.lpush, "orders", "tea")


async def publish_by_a_blocking_pipeline(layer: DataLayer) -> None:
    """With WATCH, whose commands go out at once."""
    with (
        BlockingRedis.from_url(layer.settings.redis()) as client,
        client.pipeline() as pipeline,
    ):
        pipeline.watch("order:1")
        pipeline.publish("orders", "tea")


async def delay_a_task(layer: DataLayer) -> None:
    """Plain Celery."""
    mail.delay()


async def delay_an_eager_task(layer: DataLayer) -> None:
    """Celery, as tests set it."""
    mail_at_once.delay()


async def send_a_task_by_name(layer: DataLayer) -> None:
    """Celery, without the task's code."""
    app.send_task("shop.mail")


async def publish_a_wake_up(layer: DataLayer) -> None:
    """What the relay does after the commit."""
    async with Broker(layer.settings.redis()) as broker:
        await broker.publish([WakeUp("shop", "default", new_id())])


ROUND_ABOUT = [
    (delete_key, "Redis DEL"),
    (delete_by_pipeline, "Redis DEL"),
    (set_by_a_client_of_ones_own, "Redis SET"),
    (push_by_a_blocking_client, "Redis LPUSH"),
    (publish_by_a_blocking_pipeline, "Redis PUBLISH"),
    (delay_a_task, r"Celery task shop\.mail"),
    (delay_an_eager_task, r"Celery task shop\.mail_at_once"),
    (send_a_task_by_name, "publishing to celery"),
    (publish_a_wake_up, "publishing a wake-up"),
]


@pytest.mark.parametrize(
    ("call", "what"), ROUND_ABOUT, ids=lambda value: getattr(value, "__name__", "")
)
async def test_what_goes_round_raises_and_names_the_line(
    layer: DataLayer, call: Call, what: str
) -> None:
    """It would take effect whether the transaction commits or not."""
    with pytest.raises(TransactionBypassedError, match=f"{what} goes round") as refused:
        async with layer.transaction():
            await call(layer)
    if call is not push_by_a_blocking_client:
        line = refused.value.data["line"]
        assert refused.value.data["file"] == __file__
        first = call.__code__.co_firstlineno
        assert first < line <= first + 10


@pytest.mark.parametrize("call", [call for call, _ in ROUND_ABOUT])
async def test_outside_a_transaction_and_where_it_is_meant_nothing_is_said(
    layer: DataLayer, call: Call
) -> None:
    """The same calls are right everywhere else."""
    await call(layer)
    async with layer.transaction():
        with outside_transaction("the test says so"):
            await call(layer)
    await call(layer)


async def _after(event: asyncio.Event, call: Call, layer: DataLayer) -> None:
    await event.wait()
    await call(layer)


async def test_a_task_that_a_transaction_started_may_go_on_after_its_end(
    layer: DataLayer,
) -> None:
    """It has the context of the transaction, which is over."""
    ended = asyncio.Event()
    async with layer.transaction():
        left = asyncio.create_task(_after(ended, delete_key, layer))
    ended.set()
    await left


async def test_reading_is_allowed(layer: DataLayer) -> None:
    """What changes nothing cannot go round anything."""
    client = layer.redis.client()
    await client.set("order:1", "tea")
    async with layer.transaction(), layer.reading():
        assert await client.get("order:1") == "tea"
        assert await client.exists("order:1") == 1
        async with client.pipeline() as pipeline:
            pipeline.get("order:1")
            assert await pipeline.execute() == ["tea"]


@pytest.mark.parametrize("name", ["commit", "rollback", "close"])
async def test_the_session_is_not_ended_by_hand(layer: DataLayer, name: str) -> None:
    """A second commit is half a transaction."""
    with pytest.raises(TransactionBypassedError, match=rf"session\.{name}\(\)") as refused:
        async with layer.transaction() as uow:
            await getattr(uow.session, name)()
    assert refused.value.data["file"] == __file__


async def test_another_layers_transaction_ends_inside_an_open_one(
    layer: DataLayer, librilabs_settings: Settings
) -> None:
    """The outer one is open while the inner one commits and rolls back."""
    async with DataLayer(librilabs_settings, name="other") as other, layer.transaction():
        async with other.transaction() as inner:
            await inner.flush()
        async with other.transaction() as inner:
            inner.mark_rollback("nothing to keep")


async def test_objects_go_round_and_stored_files_do_not(
    committed: ScratchDatabase, bedplate_s3: dict[str, str]
) -> None:
    """`store_file` puts its object inside the transaction, rightly: its row was there before."""
    settings = committed.settings(**bedplate_s3)
    async with DataLayer(settings, name="librilabs") as layer:
        bucket = layer.files.bucket

        async def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
            with pytest.raises(TransactionBypassedError, match="goes round"):
                await asyncio.to_thread(call, *arguments, **named)

        async with layer.transaction() as uow:
            await refused(client_of(bucket).put_object, Bucket=bucket.name, Key="k", Body=b"")
            await refused(client_of(bucket).delete_object, Bucket=bucket.name, Key="k")
            await refused(delete_file, "k", settings=settings)
            with pytest.raises(TransactionBypassedError, match="PutObject"):
                await layer.files.objects.put("k", b"", "text/plain")
            with pytest.raises(TransactionBypassedError, match="DeleteObjects"):
                await layer.files.objects.delete(["k"])
            small = await uow.store_file(b"one cup", NewFile("small.txt"))
            large = await uow.store_file(bytes(17 << 20), NewFile("large.bin"))
            await layer.files.objects.head(small.key)
            await layer.files.link(small)
        await assert_stored(layer, small.id, content=b"one cup")
        await assert_stored(layer, large.id)


@pytest.fixture
async def logging_layer(committed: ScratchDatabase) -> AsyncIterator[DataLayer]:
    """A layer as production has it."""
    guard.bypasses.clear()
    async with DataLayer(committed.settings(BEDPLATE_GUARD="log"), name="librilabs") as layer:
        yield layer


async def test_in_production_it_is_counted_and_logged_once_a_line(
    logging_layer: DataLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """What worked yesterday goes on working, and a log of a thousand lines is read by nobody."""
    async with logging_layer.transaction() as uow:
        for _ in range(3):
            await delete_key(logging_layer)
            await delete_by_pipeline(logging_layer)
            mail.delay()
        await uow.session.commit()
    logged = [record for record in caplog.records if record.name == guard.log.name]
    assert [record.levelno for record in logged] == [logging.WARNING] * len(logged)
    calls = [call for _, _, call in guard.bypasses]
    assert len(logged) == len(calls)
    assert calls.count("Redis DEL") == 2
    assert "session.commit()" in calls
    assert {count for (_, _, call), count in guard.bypasses.items() if "Redis" in call} == {3}


async def test_the_lines_that_are_counted_are_bounded(
    logging_layer: DataLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that is made at run time has new lines for ever."""
    monkeypatch.setattr(guard, "MOST_LINES", 2)
    async with logging_layer.transaction():
        for number in range(5):
            guard.check(f"call {number}", "no hint")
    assert guard.bypasses.total() == 5
    assert len(guard.bypasses) == 3


async def test_it_can_be_switched_off(committed: ScratchDatabase) -> None:
    """For who must."""
    guard.bypasses.clear()
    settings = committed.settings(BEDPLATE_GUARD="off")
    async with DataLayer(settings, name="librilabs") as layer, layer.transaction():
        await delete_key(layer)
    assert not guard.bypasses


def test_a_reason_is_asked_for() -> None:
    """A door that is opened without one is opened by habit."""
    with pytest.raises(ValueError, match="reason"), outside_transaction(" "):
        pass
