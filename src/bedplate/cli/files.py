"""The way to one system's files for the commands: the system, its settings, its layer.

Imports SQLAlchemy: only commands that do the work import this. Called by `files`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import PendingMigrationError
from bedplate.files import listing
from bedplate.files.stored_files import FileState, StoredFile
from bedplate.layer import DataLayer
from bedplate.settings import Settings


@asynccontextmanager
async def opened(system: str, variables: Mapping[str, str]) -> AsyncIterator[DataLayer]:
    """A layer that works as the owner; its serving pool stays closed.

    Raises `PendingMigrationError` when the database has no files yet.
    """
    layer = DataLayer(Settings.load(system, variables), name=system)
    try:
        async with reading(layer) as connection:
            if not await listing.is_migrated(connection):
                raise PendingMigrationError(
                    f"the database of {system} has no table of files yet",
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


async def load_page(
    system: str,
    variables: Mapping[str, str],
    *,
    state: FileState | None,
    below: UUID | None,
    limit: int,
) -> tuple[list[StoredFile], UUID | None]:
    """A page of files, and what the next one is below, if there is one."""
    async with opened(system, variables) as layer, reading(layer) as connection:
        found = await listing.page(connection, state=state, below=below, limit=limit + 1)
    page = found[:limit]
    return page, page[-1].id if len(found) > limit else None


async def load_one(system: str, variables: Mapping[str, str], file_id: UUID) -> Mapping[str, Any]:
    """Every column of one file. Raises `NotFoundError`."""
    async with opened(system, variables) as layer, reading(layer) as connection:
        return await listing.load_whole(connection, file_id)
