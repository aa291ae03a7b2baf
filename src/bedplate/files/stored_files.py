"""Stored files: every change of a file's row, one function each.

Functions take the session or connection of the caller's transaction and never begin or commit, so
that a file commits together with the rows that name it. What the sweeper does runs as the owner.
See `table.py` for the states, `statements.py` for the SQL.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from bedplate.errors import FileMismatchError, NotFoundError, UploadEndedError
from bedplate.files import statements
from bedplate.files.object_store import ObjectInfo
from bedplate.files.table import FileState as FileState
from bedplate.files.table import stored_files as stored_files

Connection = AsyncSession | AsyncConnection


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file whose bytes are on their way. `size_bytes` and `sha256` where they were declared."""

    id: UUID
    bucket: str
    key: str
    content_type: str
    file_name: str
    size_bytes: int | None = None
    sha256: bytes | None = None
    expires_in: timedelta | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A row of bedplate.stored_files."""

    id: UUID
    tenant: str | None
    bucket: str
    key: str
    state: FileState
    size_bytes: int | None
    sha256: bytes | None
    content_type: str
    file_name: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class DueObject:
    """An object that is to be deleted, and the row that says so."""

    id: UUID
    key: str


async def insert_pending(connection: Connection, file: PendingFile, grace: timedelta) -> None:
    """Name the object before it is written. To be committed before the first byte is sent."""
    await connection.execute(
        statements.INSERT_PENDING,
        {
            "id": file.id,
            "tenant": file.tenant,
            "bucket": file.bucket,
            "key": file.key,
            "content_type": file.content_type,
            "file_name": file.file_name,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "expires_in": file.expires_in,
            "grace": grace,
        },
    )


async def commit(
    connection: Connection, file_id: UUID, *, size_bytes: int, sha256: bytes
) -> StoredFile:
    """The object is whole: the file commits with the caller's transaction.

    Raises `UploadEndedError` when it is not pending any more: the sweeper took it.
    """
    values = {"id": file_id, "size_bytes": size_bytes, "sha256": sha256}
    found = await _one(connection, statements.COMMIT, values)
    if found is None:
        raise UploadEndedError(
            f"the upload of file {file_id} is not pending any more",
            hint="It took longer than BEDPLATE_FILE_GRACE, or was completed before. Store it anew.",
            file_id=file_id,
        )
    return found


async def delete(connection: Connection, file_id: UUID) -> None:
    """Delete a file with the caller's transaction; its object goes after the retention.

    A file that is deleted already is no error. Raises `NotFoundError`.
    """
    deleted = await connection.scalar(statements.DELETE, {"id": file_id})
    if deleted is None:
        found = await load(connection, file_id)
        if found.state is FileState.PENDING:
            raise NotFoundError(f"the file {file_id} is not stored yet", file_id=file_id)


async def abandon(connection: Connection, file_id: UUID) -> None:
    """The upload failed: its row and whatever was written of it may go."""
    await connection.execute(statements.ABANDON, {"id": file_id})


async def load(connection: Connection, file_id: UUID) -> StoredFile:
    """A file in any state. Raises `NotFoundError`."""
    found = await _one(connection, statements.LOAD, {"id": file_id})
    if found is None:
        raise NotFoundError(f"there is no file {file_id}", file_id=file_id)
    return found


async def load_readable(connection: Connection, file_id: UUID) -> StoredFile:
    """A file that is committed and has not expired. Raises `NotFoundError`."""
    found = await _one(connection, statements.LOAD_READABLE, {"id": file_id})
    if found is None:
        raise NotFoundError(f"there is no file {file_id}", file_id=file_id)
    return found


async def sweep_pending(connection: Connection, limit: int) -> int:
    """Give up uploads whose time is over: how many."""
    return len((await connection.execute(statements.SWEEP_PENDING, {"limit": limit})).all())


async def sweep_expired(connection: Connection, limit: int) -> int:
    """Delete files at their end: how many."""
    return len((await connection.execute(statements.SWEEP_EXPIRED, {"limit": limit})).all())


async def take_due(
    connection: Connection, bucket: str, limit: int, retention: timedelta
) -> list[DueObject]:
    """Objects whose time has come, locked until the caller's transaction ends."""
    values = {"bucket": bucket, "limit": limit, "retention": retention}
    return [DueObject(*row) for row in await connection.execute(statements.TAKE_DUE, values)]


async def mark_gone(connection: Connection, file_ids: Iterable[UUID]) -> None:
    """Their objects are deleted."""
    await connection.execute(statements.MARK_GONE, {"ids": list(file_ids)})


async def take_gone(
    connection: Connection, bucket: str, limit: int, memory: timedelta
) -> list[DueObject]:
    """Rows that were kept long enough, locked: delete their objects once more, then `forget`."""
    values = {"bucket": bucket, "limit": limit, "memory": memory}
    return [DueObject(*row) for row in await connection.execute(statements.TAKE_GONE, values)]


async def forget(connection: Connection, file_ids: Iterable[UUID]) -> None:
    """Remove the rows of files that are gone."""
    await connection.execute(statements.FORGET, {"ids": list(file_ids)})


async def quarantine(
    connection: Connection, bucket: str, objects: Sequence[ObjectInfo]
) -> frozenset[str]:
    """Note those of the objects that no row names. Returns the keys that are new in quarantine."""
    values = {
        "bucket": bucket,
        "keys": [each.key for each in objects],
        "sizes": [each.size_bytes for each in objects],
    }
    return frozenset((await connection.execute(statements.QUARANTINE, values)).scalars())


async def take_quarantined(
    connection: Connection, bucket: str, limit: int, quarantine: timedelta
) -> list[str]:
    """Keys that have been in quarantine for its whole time and still have no row, locked."""
    await connection.execute(statements.RELEASE, {"bucket": bucket})
    values = {"bucket": bucket, "limit": limit, "quarantine": quarantine}
    return list((await connection.execute(statements.TAKE_QUARANTINED, values)).scalars())


async def forget_quarantined(connection: Connection, bucket: str, keys: Collection[str]) -> None:
    """Their objects are deleted."""
    values = {"bucket": bucket, "keys": list(keys)}
    await connection.execute(statements.FORGET_QUARANTINED, values)


async def count_for_refusal(connection: Connection, bucket: str) -> tuple[int, int]:
    """How many objects are in quarantine, and how many files have a row."""
    row = (await connection.execute(statements.COUNT_FOR_REFUSAL, {"bucket": bucket})).one()
    return row.quarantined, row.named


async def now(connection: Connection) -> datetime:
    """The database's time, which alone decides."""
    found: datetime = (await connection.execute(statements.NOW)).scalar_one()
    return found


def check_declared(file: StoredFile, size_bytes: int, sha256: bytes | None) -> None:
    """Raise `FileMismatchError` when an object is not what its row declares."""
    if file.size_bytes is not None and size_bytes != file.size_bytes:
        raise _mismatch(file, f"{size_bytes} bytes instead of {file.size_bytes}")
    if file.sha256 is not None and sha256 is not None and sha256 != file.sha256:
        raise _mismatch(file, "another SHA-256")


def _mismatch(file: StoredFile, what: str) -> FileMismatchError:
    return FileMismatchError(
        f"the object of file {file.id} has {what}",
        hint="Store the file again.",
        file_id=file.id,
        key=file.key,
    )


async def _one(
    connection: Connection, statement: TextClause, values: dict[str, Any]
) -> StoredFile | None:
    row = (await connection.execute(statement, values)).mappings().one_or_none()
    return None if row is None else file_of(row)


def file_of(row: RowMapping) -> StoredFile:
    """A file from the columns of its row."""
    fields = {**row, "state": FileState(row["state"])}
    if fields["sha256"] is not None:
        fields["sha256"] = bytes(fields["sha256"])
    return StoredFile(**fields)
