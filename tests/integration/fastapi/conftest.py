"""A table of the door's own, and a spy on what an application answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from bedplate.layer import DataLayer


@dataclass(frozen=True)
class Notes:
    """The table `door_notes`, looked at from outside: as the owner, on another connection."""

    layer: DataLayer

    async def committed(self) -> list[str]:
        """What everyone sees."""
        async with self.layer.owner_database.engine.connect() as connection:
            rows = await connection.execute(text("SELECT note FROM door_notes ORDER BY note"))
            return list(rows.scalars())

    async def idle_in_transaction(self) -> int:
        """Connections of this database that hold a transaction and do nothing."""
        async with self.layer.owner_database.engine.connect() as connection:
            count = await connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
                )
            )
            return int(count.scalar_one())


@pytest.fixture
async def notes(layer: DataLayer) -> AsyncIterator[Notes]:
    """A table whose uniqueness only COMMIT looks at, so that a COMMIT can be made to fail."""
    role = layer.settings.serving_role()
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(
            text(
                "CREATE TABLE door_notes ("
                "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
                "note text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        await connection.execute(text(f'GRANT SELECT, INSERT ON door_notes TO "{role}"'))
    yield Notes(layer)
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE door_notes"))
