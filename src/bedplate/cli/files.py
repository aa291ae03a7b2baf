"""The way to one system's files for the commands: the system, its settings, its layer.

Imports SQLAlchemy: only commands that do the work import this. Called by `files`.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from bedplate.cli import owner
from bedplate.cli.owner import reading
from bedplate.files import listing
from bedplate.files.stored_files import FileState, StoredFile
from bedplate.layer import DataLayer


def opened(system: str, variables: Mapping[str, str]) -> AbstractAsyncContextManager[DataLayer]:
    """A layer that works as the owner. Raises `PendingMigrationError`."""
    return owner.opened(system, variables, table="stored_files", what="files")


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
