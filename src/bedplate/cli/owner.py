"""The way to one system's tables for the commands: the system, its settings, a layer as its owner.

Imports SQLAlchemy: only commands that do the work import this. Called by `files`, `jobs` and
`outbox`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import PendingMigrationError
from bedplate.layer import DataLayer
from bedplate.settings import Settings

HAS_TABLE = text("SELECT to_regclass(:name) IS NOT NULL")


@asynccontextmanager
async def opened(
    system: str, variables: Mapping[str, str], *, table: str, what: str
) -> AsyncIterator[DataLayer]:
    """A layer that works as the owner; its serving pool stays closed.

    Raises `PendingMigrationError` when the database has no such table of the layer yet.
    """
    layer = DataLayer(Settings.load(system, variables), name=system)
    try:
        async with reading(layer) as connection:
            if not await connection.scalar(HAS_TABLE, {"name": f"bedplate.{table}"}):
                raise PendingMigrationError(
                    f"the database of {system} has no table of {what} yet",
                    hint="bedplate migrate",
                )
        yield layer
    finally:
        await layer.close()


@asynccontextmanager
async def reading(layer: DataLayer) -> AsyncIterator[AsyncConnection]:
    """A connection as the owner, rolled back at the end."""
    database = layer.owner_database
    async with database.translated(), database.engine.connect() as connection:
        yield connection


@asynccontextmanager
async def changing(layer: DataLayer) -> AsyncIterator[AsyncConnection]:
    """A connection as the owner, committed at the end."""
    database = layer.owner_database
    async with database.translated(), database.engine.begin() as connection:
        yield connection
