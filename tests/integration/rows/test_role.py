"""Who a pooled connection is, and what a database says that cannot be entered."""

import logging
from dataclasses import replace

import pytest
from sqlalchemy import text

from bedplate.errors import DatabaseUnreachableError, RoleRefusedError, TransactionError
from bedplate.rows.database import Database
from bedplate.testing.clones import ScratchDatabase
from bedplate.testing.stack import Servers
from tests.integration.rows.conftest import MakeDatabase

WHO = text("SELECT current_user")


async def test_the_pool_serves_as_the_role_also_after_a_reset(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """RESET ROLE in a statement of somebody's must not make the owner of the next request."""
    database = make_database(role=blank_database.role)
    await database.open()
    async with database.session() as session:
        assert await session.scalar(WHO) == blank_database.role
        await session.execute(text("RESET ROLE"))
        assert await session.scalar(WHO) == blank_database.role


async def test_a_connection_of_ones_own_has_the_same_role_and_name(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """LISTEN and heartbeats must not run with more rights than the pool."""
    connection = await make_database(
        role=blank_database.role, application_name="bedplate api"
    ).connect()
    row = await connection.fetchrow(
        "SELECT current_user, current_setting('application_name') AS name"
    )
    await connection.close()
    assert tuple(row) == (blank_database.role, "bedplate api")


async def test_serving_as_the_owner_is_refused(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """The owner is bound by no policy."""
    with pytest.raises(RoleRefusedError, match="owns the database"):
        await make_database(role=blank_database.url.user).open()


async def test_serving_as_a_superuser_is_refused(
    stack: Servers, blank_database: ScratchDatabase
) -> None:
    """Neither is a superuser."""
    url = stack.admin.with_database(blank_database.url.database)
    database = Database(url, role=url.user)
    with pytest.raises(RoleRefusedError, match="a superuser"):
        await database.open()
    assert database.engine.sync_engine.pool.checkedin() == 0  # type: ignore[attr-defined] # a QueuePool


async def test_a_role_that_does_not_exist_is_named(make_database: MakeDatabase) -> None:
    """A forgotten GRANT or a misspelt name: the hint is the statement that is missing."""
    with pytest.raises(RoleRefusedError, match="no_such_role") as caught:
        await make_database(role="no_such_role").open()
    assert "CREATE ROLE" in caught.value.hint


@pytest.mark.bad_day(
    "A wrong password",
    sees="the password is wrong; where to correct it, and not the password",
)
async def test_a_wrong_password_is_said_without_showing_it(
    blank_database: ScratchDatabase,
) -> None:
    """Errors end up in logs."""
    wrong = "canary-of-a-password"
    database = Database(replace(blank_database.url, password=wrong))
    with pytest.raises(DatabaseUnreachableError) as caught:
        await database.open()
    assert caught.value.data["reason"] == "wrong_password"
    assert wrong not in str(caught.value) + caught.value.hint


@pytest.mark.bad_day("An unknown database", sees="there is no such database; createdb")
async def test_an_unknown_database_is_said(blank_database: ScratchDatabase) -> None:
    """The name in the URL is the likeliest mistake after the password."""
    with pytest.raises(DatabaseUnreachableError) as caught:
        await Database(blank_database.url.with_database("no_such_database")).open()
    assert caught.value.data["reason"] == "unknown_database"


@pytest.mark.bad_day("TLS asked of a server without it", sees="TLS could not be agreed on; sslmode")
async def test_tls_that_the_server_lacks_is_said(blank_database: ScratchDatabase) -> None:
    """`sslmode=require` copied from a provider to a server without TLS."""
    with pytest.raises(DatabaseUnreachableError) as caught:
        await Database(replace(blank_database.url, sslmode="require")).open()
    assert caught.value.data["reason"] == "tls_refused"
    assert "sslmode" in caught.value.hint


@pytest.mark.fault(28, holds="I11 I14", every_run=True)
@pytest.mark.bad_day(
    "Too many connections",
    sees="the server has no connection left; what to lower",
)
async def test_fault_28_a_database_without_a_connection_left_says_so(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """The server's limit is another thing than the pool's, and has another cure."""
    owner = await make_database().connect()
    await owner.execute(f'ALTER DATABASE "{blank_database.url.database}" CONNECTION LIMIT 1')
    with pytest.raises(DatabaseUnreachableError) as caught:
        await make_database().open()
    await owner.close()
    assert caught.value.data["reason"] == "too_many_connections"
    assert "max_connections" in caught.value.hint


async def test_a_pool_larger_than_the_server_is_warned_about(
    make_database: MakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Found at the start, and not at the first peak."""
    with caplog.at_level(logging.WARNING, "bedplate.rows.admission"):
        await make_database(pool_size=5, max_overflow=5).open()
        assert not caplog.records
        await make_database(pool_size=900, max_overflow=100).open()
    (record,) = caplog.records
    assert vars(record)["pool_most"] == 1000
    assert vars(record)["available"] < vars(record)["max_connections"]


async def test_a_connection_that_breaks_in_use_is_said_to_be_lost(
    make_database: MakeDatabase,
) -> None:
    """The caller may try again: nothing of the transaction stayed."""
    database = make_database()
    killer = await database.connect()
    with pytest.raises(DatabaseUnreachableError) as caught:
        async with database.translated(), database.session() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            await killer.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await session.scalar(WHO)
    await killer.close()
    assert caught.value.data["reason"] == "connection_lost"


async def test_behind_a_pooler_each_transaction_sets_the_role_for_itself(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """The next transaction may be on another server connection, and this one a stranger's."""
    database = make_database(role=blank_database.role, is_behind_pooler=True, pool_size=1)
    await database.open()
    async with database.session() as session:
        assert await session.scalar(WHO) == blank_database.role
        await session.commit()
        assert await session.scalar(WHO) == blank_database.role
    async with database.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        assert await raw.fetchval("SELECT current_user") == blank_database.url.user


async def test_behind_a_pooler_nothing_is_prepared_by_name(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """A named statement is on one server connection, and the next transaction on another."""
    database = make_database(role=blank_database.role, is_behind_pooler=True, pool_size=1)
    named = text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
    async with database.session() as session:
        await session.execute(text("SELECT :n + 1"), {"n": 1})
        assert await session.scalar(named) == 0
    async with make_database().session() as session:
        assert (await session.scalar(named) or 0) > 0


async def test_behind_a_pooler_autocommit_is_refused(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> None:
    """A role that lasts for a transaction lasts for nothing there: it would be the owner's."""
    database = make_database(role=blank_database.role, is_behind_pooler=True)
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        with pytest.raises(TransactionError, match="AUTOCOMMIT"):
            await connection.execute(WHO)
