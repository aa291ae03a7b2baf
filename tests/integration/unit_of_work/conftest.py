"""A table of this room's own, and a look from outside at what is committed and what still runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import AsyncAdaptedQueuePool, text

from bedplate.layer import DataLayer

CREATE_TABLE = "CREATE TABLE uow_notes (note text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED)"
# A COMMIT that takes half a second, for a test to come in between.
CREATE_FUNCTION = """
CREATE FUNCTION uow_sleep() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$
"""
CREATE_TRIGGER = """
CREATE CONSTRAINT TRIGGER uow_slow AFTER INSERT ON uow_notes DEFERRABLE INITIALLY DEFERRED
   FOR EACH ROW WHEN (NEW.note LIKE 'slow%') EXECUTE FUNCTION uow_sleep()
"""
READ_OTHERS = """
SELECT pid, state, query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND backend_type = 'client backend' AND state <> 'idle'
"""
# The server looks for a vanished client each second (client_connection_check_interval).
QUIET_WITHIN_SECONDS = 5.0


@dataclass(frozen=True)
class Outside:
    """The database as everyone else sees it: as the owner, on another connection."""

    layer: DataLayer

    async def rows(self, query: str) -> list[Any]:
        """What a query of this test returns, a value or a row each."""
        async with self.layer.owner_database.engine.connect() as connection:
            found = (await connection.execute(text(query))).all()
        return [row[0] if len(row) == 1 else tuple(row) for row in found]

    async def notes(self) -> list[str]:
        """The committed rows."""
        return await self.rows("SELECT note FROM uow_notes ORDER BY note")

    async def counts(self) -> tuple[int, int, int]:
        """How many rows, jobs and messages are committed."""
        (found,) = await self.rows(
            "SELECT (SELECT count(*) FROM uow_notes), (SELECT count(*) FROM bedplate.jobs),"
            " (SELECT count(*) FROM bedplate.outbox)"
        )
        assert isinstance(found, tuple)
        return found

    async def wait_until_running(self, fragment: str) -> None:
        """Return once another connection executes a statement that contains this."""
        async with asyncio.timeout(QUIET_WITHIN_SECONDS):
            while True:
                others = await self.rows(READ_OTHERS)
                if any(state == "active" and fragment in query for _, state, query in others):
                    return
                await asyncio.sleep(0.01)

    def connections_in_use(self) -> int:
        """How many connections of the serving pool are checked out."""
        pool = self.layer.database.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return pool.checkedout()

    async def assert_quiet(self) -> None:
        """The pool has nothing in use, and soon no backend is active or in a transaction."""
        assert self.connections_in_use() == 0
        deadline = time.monotonic() + QUIET_WITHIN_SECONDS
        while others := await self.rows(READ_OTHERS):
            assert time.monotonic() < deadline, f"still busy: {others}"
            await asyncio.sleep(0.02)


@pytest.fixture
async def outside(layer: DataLayer) -> AsyncIterator[Outside]:
    """The table `uow_notes`, unique at COMMIT only, so that a COMMIT can be made to fail."""
    role = layer.settings.serving_role()
    async with layer.owner_database.engine.begin() as connection:
        grant = f'GRANT SELECT, INSERT ON uow_notes TO "{role}"'
        for statement in (CREATE_TABLE, CREATE_FUNCTION, CREATE_TRIGGER, grant):
            await connection.execute(text(statement))
    yield Outside(layer)
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE uow_notes"))
        await connection.execute(text("DROP FUNCTION uow_sleep"))
