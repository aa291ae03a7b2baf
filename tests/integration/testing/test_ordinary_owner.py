"""On a server of one's own the tests' user is an ordinary one, and others are there too."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from bedplate.rows.database import Database
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import Clones

if TYPE_CHECKING:
    from bedplate.testing.stack import Servers

ROLE = "bedplate_test_ordinary"
# The server's own try to have the others leave, for which FORCE is not allowed.
IS_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = $1 AND state = 'active' AND query LIKE 'DROP DATABASE%' AND query NOT LIKE '%FORCE%'
"""


@pytest.fixture
async def ordinary(stack: "Servers") -> AsyncIterator["Servers"]:
    """The run's server, as a user who may create databases and no more."""
    if stack.state is None:
        pytest.skip("TEST_DATABASE_URL's user cannot make another one's server")
    password = secrets.token_hex()
    admin = await Database(stack.admin).connect()
    try:
        await admin.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'")
        url = replace(stack.admin, user=ROLE, password=password)
        yield replace(stack, admin=url, owners=dict.fromkeys(stack.owners, url))
        await admin.execute(f"DROP ROLE {ROLE}")
    finally:
        await admin.close()


async def test_a_database_that_a_superuser_visits_is_dropped_when_it_has_left(
    ordinary: "Servers", stack: "Servers"
) -> None:
    """An autovacuum worker is such a visitor: it comes when it likes, and FORCE is refused."""
    admin = await Database(stack.admin).connect()
    with BackgroundLoop() as background, Clones(ordinary, background) as clones:
        scratch = clones.blank("librilabs")
        visitor = await Database(stack.admin.with_database(scratch.url.database)).connect()
        left_open = await Database(scratch.url).connect()
        dropping = asyncio.create_task(asyncio.to_thread(clones.drop, scratch))
        while not await admin.fetchval(IS_WAITING, ROLE):
            assert not dropping.done()
        await visitor.close()
        await dropping
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await left_open.execute("SELECT 1")
    there = "SELECT count(*) FROM pg_database WHERE datname = $1"
    assert await admin.fetchval(there, scratch.url.database) == 0
    await admin.close()
