"""The pool: reuse, overflow, exhaustion, cancelling, dead connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from bedplate.errors import DatabaseUnreachableError, PoolExhaustedError
from bedplate.project import Project
from bedplate.rows import pool as pool_module
from bedplate.rows.database import Database
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.testing.clones import ScratchDatabase
from bedplate.urls import DatabaseUrl
from tests.integration.rows.conftest import MakeDatabase

SOON = timedelta(milliseconds=100)
PID = text("SELECT pg_backend_pid()")
IS_SLEEPING = """
SELECT EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database()
                  AND state = 'active'
                  AND query LIKE 'SELECT pg_sleep%')
"""


async def backend(database: Database) -> int:
    """The server's process behind the connection that the pool gives next."""
    async with database.session() as session:
        return int(await session.scalar(PID) or 0)


def pool_of(database: Database) -> QueuePool:
    """The engine's pool."""
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    return pool


async def test_L3_a_connection_is_used_again(make_database: MakeDatabase) -> None:
    """A new one costs a process of the server and several round trips."""
    database = make_database(pool_size=2)
    assert await backend(database) == await backend(database)
    assert pool_of(database).checkedin() == 1


async def test_L3_a_peak_overflows_and_is_given_back(make_database: MakeDatabase) -> None:
    """Connections beyond pool_size serve a peak and are closed after it."""
    database = make_database(pool_size=1, max_overflow=1)
    async with database.session() as one, database.session() as two:
        assert await one.scalar(PID) != await two.scalar(PID)
        assert pool_of(database).checkedout() == 2
    assert pool_of(database).checkedout() == 0
    assert pool_of(database).checkedin() == 1


@pytest.mark.bad_day(
    "A pool with nothing free",
    sees="`PoolExhaustedError` after the timeout, with the setting",
)
async def test_L3_an_exhausted_pool_says_so(make_database: MakeDatabase) -> None:
    """The cause is nearly always a transaction held too long: the error says that."""
    database = make_database(pool_size=1, max_overflow=0, pool_timeout=SOON)
    async with database.session() as holder:
        await holder.scalar(PID)
        with pytest.raises(PoolExhaustedError, match=r"all 1 connections .* in 0\.1 s") as caught:
            await backend(database)
    assert "BEDPLATE_POOL_SIZE" in caught.value.hint
    assert await backend(database) > 0


async def test_L3_a_cancelled_query_gives_its_connection_back(
    make_database: MakeDatabase,
) -> None:
    """A client that hangs up must not cost the pool a connection, nor leave a lock behind."""
    database = make_database(pool_size=1, max_overflow=0)
    watcher = await database.connect()
    sleeping = asyncio.create_task(_sleep_in_server(database))
    while not await watcher.fetchval(IS_SLEEPING):
        pass  # each look is a round trip
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert pool_of(database).checkedout() == 0
    assert await backend(database) > 0
    in_transaction = await watcher.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    await watcher.close()
    assert in_transaction == 0


async def _sleep_in_server(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT pg_sleep(600)"))


async def test_a_connection_that_the_server_ended_is_replaced_unnoticed(
    make_database: MakeDatabase,
) -> None:
    """An administrator ends idle connections; the next request must not fail for it."""
    database = make_database(pool_size=2, trusted_idle=timedelta(hours=1))
    ended = await backend(database)
    watcher = await database.connect()
    await watcher.execute("SELECT pg_terminate_backend($1, 5000)", ended)
    await watcher.close()
    assert await backend(database) != ended


async def test_a_connection_that_died_in_silence_is_replaced(
    blank_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall forgets an idle connection and tells nobody: only asking finds out."""
    monkeypatch.setattr(pool_module, "PING_TIMEOUT", timedelta(milliseconds=200))
    async with firewall(blank_database.url) as (url, forget):
        database = Database(url, trusted_idle=timedelta(0))
        forgotten = await backend(database)
        forget()
        assert await backend(database) != forgotten
        await database.close()


@pytest.mark.bad_day(
    "PostgreSQL goes away and comes back",
    sees="an error meanwhile, nothing to start again",
)
async def test_L3_a_restarted_server_is_found_again(tmp_path: Path, project: Project) -> None:
    """Once the server is back, the first request succeeds; while it is away, the error is ours."""
    own = replace(project, state=tmp_path / "state")
    async with own_server(own) as url:
        database, untouched = Database(url), Database(url)
        before = {await backend(database), await backend(untouched)}
    with pytest.raises(DatabaseUnreachableError) as caught:
        await backend(database)
    assert caught.value.data["reason"] == "refused"
    async with own_server(own) as again:
        assert again == url
        after = {await backend(database), await backend(untouched)}
        await database.close()
        await untouched.close()
    assert len(before | after) == 4


@asynccontextmanager
async def own_server(project: Project) -> AsyncIterator[DatabaseUrl]:
    """A server of this test's own, stopped at the end. The event loop runs meanwhile."""
    options = StackOptions(durable=False)
    stack = await asyncio.to_thread(client.attach, project, options)
    try:
        yield DatabaseUrl.parse(stack.state.databases["librilabs"])
    finally:
        await asyncio.to_thread(stack.close)
        await asyncio.to_thread(client.stop, project, timeout=timedelta(seconds=30))


@asynccontextmanager
async def firewall(target: DatabaseUrl) -> AsyncIterator[tuple[DatabaseUrl, Callable[[], None]]]:
    """A way to the server, and how to make it forget the connections that it has."""
    flows: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(target.host, target.port)
        writers.extend((writer, there[1]))
        flows.append(asyncio.create_task(_forward(reader, there[1])))
        flows.append(asyncio.create_task(_forward(there[0], writer)))

    def forget() -> None:
        for flow in flows:
            flow.cancel()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield replace(target, host="127.0.0.1", port=port), forget
    finally:
        forget()
        server.close()
        for writer in writers:
            writer.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
