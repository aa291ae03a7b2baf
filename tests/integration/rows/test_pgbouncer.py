"""Behind a real PgBouncer in transaction mode, whose server connections everybody shares."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from bedplate.errors import DatabaseUnreachableError
from bedplate.health import check
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.testing.clones import Clones, ScratchDatabase
from bedplate.testing.pooler import open_pooler
from bedplate.testing.stack import Servers
from tests.stands import require_pgbouncer

WHO = text("SELECT current_user AS role, session_user AS login, pg_backend_pid() AS pid")
NAMED_STATEMENTS = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
# Fewer than there are clients, so that they meet on the same ones.
SERVER_CONNECTIONS = 2
CLIENTS = 6
ROUNDS = 20


@pytest.fixture
def pooled(
    clones: Clones, librilabs_database: ScratchDatabase, committed: object, stack: Servers
) -> Iterator[ScratchDatabase]:
    """This worker's database, served through a PgBouncer of this test's own."""
    require_pgbouncer()
    url = librilabs_database.url
    with open_pooler(stack.admin, [url], pool_size=SERVER_CONNECTIONS) as pooler:
        yield replace(
            librilabs_database, pooled_url=replace(url, host=pooler.host, port=pooler.port)
        )


@pytest.fixture
async def pooled_layer(pooled: ScratchDatabase) -> AsyncIterator[DataLayer]:
    """A layer that serves through it."""
    async with DataLayer(pooled.settings(), name="librilabs") as layer:
        yield layer


async def test_the_role_is_the_applications_in_every_transaction(
    pooled_layer: DataLayer, pooled: ScratchDatabase
) -> None:
    """One transaction as the owner is one that no policy binds."""
    seen: Counter[tuple[str, str]] = Counter()
    servers: set[int] = set()

    async def work() -> None:
        for number in range(ROUNDS):
            begin = pooled_layer.transaction() if number % 2 else pooled_layer.reading()
            async with begin as entered:
                who = (await entered.execute(WHO)).one()
            seen[who.role, who.login] += 1
            servers.add(who.pid)

    await asyncio.gather(*(work() for _ in range(CLIENTS)))

    assert seen == {(pooled.role, pooled.url.user): CLIENTS * ROUNDS}
    assert len(servers) == SERVER_CONNECTIONS


async def test_a_rolled_back_transaction_leaves_no_role_behind(
    pooled_layer: DataLayer, pooled: ScratchDatabase
) -> None:
    """The next client of that server connection may be the owner's own."""
    with pytest.raises(ZeroDivisionError):
        async with pooled_layer.transaction() as uow:
            await uow.session.execute(WHO)
            raise ZeroDivisionError

    assert await _on_every_server(pooled, "SELECT current_user") == {pooled.url.user}


@pytest.mark.fault(45, holds="I10", every_run=True)
async def test_fault_45_no_statement_is_prepared_by_name_on_a_server_connection(
    pooled_layer: DataLayer, pooled: ScratchDatabase
) -> None:
    """The same statement, from many clients on few servers: named ones fail here."""

    async def work(client: int) -> None:
        for number in range(ROUNDS):
            async with pooled_layer.transaction() as uow:
                statement = text(f"SELECT :n + {client % 3}")
                found = await uow.session.scalar(statement, {"n": number})
                assert found == number + client % 3

    await asyncio.gather(*(work(client) for client in range(CLIENTS)))

    assert await _on_every_server(pooled, NAMED_STATEMENTS) == {0}


async def test_plain_asyncpg_fails_here(pooled: ScratchDatabase) -> None:
    """What the tests above would show if the pooler were not one: they can fail."""
    assert pooled.pooled_url is not None
    arguments = pooled.pooled_url.connect_arguments()
    async with AsyncExitStack() as closing:
        connections = []
        for _ in range(SERVER_CONNECTIONS * 2):
            connection = await asyncpg.connect(**arguments)
            closing.push_async_callback(connection.close)
            connections.append(connection)

        async def work(connection: asyncpg.Connection) -> None:
            for number in range(ROUNDS):
                assert await connection.fetchval("SELECT 1 + $1::int", number) == number + 1

        done = await asyncio.gather(*map(work, connections), return_exceptions=True)

    assert any("prepared statement" in str(each) for each in done)


@pytest.mark.fault(45, holds="I10", every_run=True)
async def test_fault_45_no_setting_of_the_layer_leaks(
    pooled_layer: DataLayer, pooled: ScratchDatabase
) -> None:
    """A timeout or a read-only mode of one request must not be met by another."""
    changed = (
        "SELECT string_agg(name || '=' || setting, ', ' ORDER BY name) FROM pg_settings"
        " WHERE source = 'session' AND name <> 'application_name'"
    )
    before = await _on_every_server(pooled, changed)

    async def work() -> None:
        for _ in range(ROUNDS):
            async with pooled_layer.reading() as session:
                await session.scalar(text("SELECT 1"))
            async with pooled_layer.transaction() as uow:
                await uow.session.scalar(text("SELECT 1"))

    await asyncio.gather(*(work() for _ in range(CLIENTS)))

    assert await _on_every_server(pooled, changed) == before


async def test_connections_of_ones_own_go_past_the_pooler(
    pooled_layer: DataLayer, pooled: ScratchDatabase
) -> None:
    """LISTEN is deaf behind a pooler, and a session's lock is nobody's there."""
    listener = await pooled_layer.database.connect()
    heard = asyncio.Event()
    try:
        await listener.add_listener("stands", lambda *_: heard.set())
        pids = await _on_every_server(pooled, "SELECT pg_backend_pid()")
        assert listener.get_server_pid() not in pids
        assert await listener.fetchval("SELECT current_user") == pooled.role
        async with pooled_layer.transaction() as uow:
            await uow.session.execute(text("NOTIFY stands"))
        await asyncio.wait_for(heard.wait(), 10)
    finally:
        await listener.close()
    assert pooled_layer.owner_database.url == pooled.url


async def test_a_pooler_that_is_down_is_not_ready(pooled: ScratchDatabase) -> None:
    """Every request goes through it, however well the server behind it is."""
    assert pooled.pooled_url is not None
    nowhere = SecretStr(replace(pooled.pooled_url, port=1).render())
    lost = DataLayer(pooled.settings().model_copy(update={"database_url": nowhere}))
    report = await check(lost)
    await lost.close()
    assert report.services["database"].reason == "refused"
    assert not report.is_ready


async def test_a_pooler_whose_connections_are_all_in_use_is_ready(
    pooled_layer: DataLayer, pooled: ScratchDatabase
) -> None:
    """Health must not wait behind the requests, or load takes every replica out of service."""
    async with AsyncExitStack() as holding:
        for _ in range(SERVER_CONNECTIONS):
            session = await holding.enter_async_context(pooled_layer.reading())
            await session.execute(WHO)
        report = await check(pooled_layer)
    assert report.services["database"].is_up
    assert report.is_ready


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"password": "canary"}, "wrong_password"),
        ({"user": "canary"}, "wrong_password"),
        ({"database": "canary"}, "unknown_database"),
    ],
)
async def test_what_the_pooler_refuses_is_said(
    pooled: ScratchDatabase, wrong: dict[str, str], reason: str
) -> None:
    """It speaks in the server's place, with one code for everything."""
    assert pooled.pooled_url is not None
    url = replace(pooled.pooled_url, **wrong)  # type: ignore[arg-type] # texts all
    with pytest.raises(DatabaseUnreachableError) as caught:
        await Database(url, role=pooled.role, is_behind_pooler=True).open()
    assert caught.value.data["reason"] == reason


async def test_a_role_as_start_up_parameter_is_refused_with_a_hint(
    pooled: ScratchDatabase,
) -> None:
    """Whoever forgot to say that there is a pooler is told which variable says it."""
    assert pooled.pooled_url is not None
    with pytest.raises(DatabaseUnreachableError) as caught:
        await Database(pooled.pooled_url, role=pooled.role).open()
    assert caught.value.data["reason"] == "refused_by_pooler"
    assert "BEDPLATE_TRANSACTION_POOLER" in caught.value.hint


async def _on_every_server(pooled: ScratchDatabase, query: str) -> set[object]:
    """What a stranger without the layer finds on each of the pooler's server connections."""
    assert pooled.pooled_url is not None
    arguments = pooled.pooled_url.connect_arguments() | {"statement_cache_size": 0}
    found: set[object] = set()
    async with AsyncExitStack() as closing:
        # Held open all at once, so that no two of them share a server connection.
        for _ in range(SERVER_CONNECTIONS):
            connection = await asyncpg.connect(**arguments)
            closing.push_async_callback(connection.close)
            await closing.enter_async_context(connection.transaction())
            found.add(await connection.fetchval(query))
    return found
