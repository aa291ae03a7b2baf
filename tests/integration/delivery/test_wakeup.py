"""The wake-up comes after a commit that has something to deliver, and never in its way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from bedplate.delivery.wakeup import CHANNEL, Listener, Wakeup
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.urls import DatabaseUrl

SOON = timedelta(seconds=5)
NEVER = timedelta(milliseconds=200)
NOBODY = DatabaseUrl(host="127.0.0.1", port=1, user="u", database="d")


@pytest.fixture
async def listener(layer: DataLayer) -> AsyncIterator[Listener]:
    """One that listens."""
    listener = Listener(layer.owner_database)
    await listener.open()
    # Its own test is a NOTIFY: heard by now.
    await listener.wait(NEVER)
    yield listener
    await listener.close()


async def test_a_commit_with_a_message_wakes_the_relay(
    layer: DataLayer, listener: Listener
) -> None:
    """Without it every delivery would wait for the poll."""
    assert listener.is_listening
    async with layer.transaction() as uow:
        uow.invalidate("key")
    assert await listener.wait(SOON)


async def test_nothing_to_deliver_wakes_nobody(layer: DataLayer, listener: Listener) -> None:
    """Neither plain rows nor a rollback."""
    async with layer.transaction() as uow:
        await uow.execute(text("SELECT 1"))
    async with layer.transaction() as uow:
        uow.invalidate("key")
        uow.mark_rollback("test")
    assert not await listener.wait(NEVER)


async def test_many_requests_are_few_notifies(layer: DataLayer) -> None:
    """A thousand commits a second must not be a thousand NOTIFYs."""
    heard: list[object] = []
    connection = await layer.owner_database.connect()
    done = asyncio.Event()
    await connection.add_listener(CHANNEL, lambda *_all: heard.append(1) or done.set())  # type: ignore[func-returns-value] # both are wanted
    for _ in range(1000):
        layer.wakeup.request()
    async with asyncio.timeout(SOON.total_seconds()):
        await done.wait()
    await connection.fetchval("SELECT 1")
    await connection.close()
    assert 1 <= len(heard) <= 2


async def test_a_wakeup_that_cannot_be_sent_is_nobodys_trouble() -> None:
    """The commit has happened; the relay polls."""
    wakeup = Wakeup(Database(NOBODY))
    wakeup.request()
    await asyncio.sleep(0)
    wakeup.request()
    await wakeup.close()


async def test_a_listener_without_a_server_returns_by_its_timeout() -> None:
    """The relay polls on while the server restarts."""
    listener = Listener(Database(NOBODY))
    await listener.open()
    assert not listener.is_listening
    assert not await listener.wait(timedelta(milliseconds=10))
    await listener.close()


@pytest.mark.fault(46, holds="I3", every_run=True)
async def test_fault_46_a_listener_that_lost_its_connection_wakes_and_listens_again(
    layer: DataLayer, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed while it was deaf is found by looking once."""
    monkeypatch.setattr("bedplate.delivery.wakeup.REOPEN_AFTER", timedelta(0))
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    async with layer.owner_database.engine.begin() as connection:
        assert (await connection.execute(kill)).scalars().all() == [True]
    assert await listener.wait(SOON)
    await listener.wait(NEVER)
    assert listener.is_listening
    async with layer.transaction() as uow:
        uow.invalidate("key")
    assert await listener.wait(SOON)
