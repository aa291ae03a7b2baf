"""What people ask of the files: pages of them, one of them, and what a sweep would take.

Nothing here changes anything, and all of it is read as the owner. Called by the command line.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import NotFoundError
from bedplate.files.stored_files import FileState, StoredFile, file_of

# Ids begin with their time: the newest first, and a page goes on below the last id of the one
# before it.
PAGE = text("""
SELECT id, tenant, bucket, key, state, size_bytes, sha256, content_type, file_name, created_at,
       expires_at
  FROM bedplate.stored_files
 WHERE (CAST(:state AS text) IS NULL OR state = CAST(:state AS text))
   AND (CAST(:below AS uuid) IS NULL OR id < CAST(:below AS uuid))
 ORDER BY id DESC
 LIMIT :limit
""")

WHOLE = text("""
SELECT id, state, file_name, content_type, size_bytes, encode(sha256, 'hex') AS sha256, bucket, key,
       tenant, created_at, pending_until, committed_at, expires_at, deleted_at, gone_at
  FROM bedplate.stored_files
 WHERE id = :id
""")

COUNT_COMMITTED = text("SELECT count(*) FROM bedplate.stored_files WHERE state = 'committed'")

# As `FileSweeper.sweep` does one after the other: what is given up or expires is deleted at once.
COUNT_DUE = text("""
SELECT count(*) FILTER (WHERE state = 'pending' AND pending_until <= now()) AS given_up,
       count(*) FILTER (WHERE state = 'committed' AND expires_at <= now()) AS expired,
       count(*) FILTER (
         WHERE bucket = :bucket
           AND CASE state
                 WHEN 'pending' THEN pending_until <= now()
                 WHEN 'committed' THEN expires_at <= now()
                 WHEN 'deleted' THEN committed_at IS NULL
                                  OR expires_at <= now()
                                  OR deleted_at <= now() - CAST(:retention AS interval)
               END
       ) AS deleted,
       count(*) FILTER (
         WHERE bucket = :bucket
           AND state = 'gone'
           AND gone_at <= now() - CAST(:memory AS interval)
       ) AS forgotten
  FROM bedplate.stored_files
 WHERE state <> 'committed' OR expires_at IS NOT NULL
""")

COUNT_UNNAMED = text("""
SELECT count(*)
  FROM unnest(CAST(:keys AS text[])) AS found (key)
 WHERE NOT EXISTS (SELECT FROM bedplate.stored_files AS file
                    WHERE file.bucket = :bucket AND file.key = found.key)
   AND NOT EXISTS (SELECT FROM bedplate.quarantined_objects AS object
                    WHERE object.bucket = :bucket AND object.key = found.key)
""")

COUNT_QUARANTINED = text("""
SELECT count(*)
  FROM bedplate.quarantined_objects AS object
 WHERE object.bucket = :bucket
   AND object.noticed_at <= now() - CAST(:quarantine AS interval)
   AND NOT EXISTS (SELECT FROM bedplate.stored_files AS file
                    WHERE file.bucket = object.bucket AND file.key = object.key)
""")


async def page(
    connection: AsyncConnection,
    *,
    state: FileState | None = None,
    below: UUID | None = None,
    limit: int,
) -> list[StoredFile]:
    """Files, newest first, from the one before `below` on."""
    values = {"state": state and state.value, "below": below, "limit": limit}
    rows = (await connection.execute(PAGE, values)).mappings()
    return [file_of(row) for row in rows]


async def load_whole(connection: AsyncConnection, file_id: UUID) -> Mapping[str, Any]:
    """Every column of a file. Raises `NotFoundError`."""
    row = (await connection.execute(WHOLE, {"id": file_id})).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no file {file_id}", hint="bedplate files list")
    return dict(row)


async def count_committed(connection: AsyncConnection) -> int:
    """How many files are committed, expired ones that were not swept yet included."""
    return int(await connection.scalar(COUNT_COMMITTED) or 0)


async def count_due(
    connection: AsyncConnection, bucket: str, *, retention: timedelta, memory: timedelta
) -> dict[str, int]:
    """What a sweep by rows would take: given_up, expired, deleted, forgotten."""
    values = {"bucket": bucket, "retention": retention, "memory": memory}
    return dict((await connection.execute(COUNT_DUE, values)).mappings().one())


async def count_unnamed(connection: AsyncConnection, bucket: str, keys: Sequence[str]) -> int:
    """How many of the keys no row names, and no quarantine knows yet."""
    return int(await connection.scalar(COUNT_UNNAMED, {"bucket": bucket, "keys": list(keys)}) or 0)


async def count_quarantined(connection: AsyncConnection, bucket: str, quarantine: timedelta) -> int:
    """How many objects have been in quarantine for its whole time and still have no row."""
    values = {"bucket": bucket, "quarantine": quarantine}
    return int(await connection.scalar(COUNT_QUARANTINED, values) or 0)
