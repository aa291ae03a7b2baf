"""What people ask of the outbox: pages of messages, one of them, and which a command is about.

Nothing here changes anything, and all of it is read as the owner. Called by the command line.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import NotFoundError

# Ids begin with their time, as those of jobs do.
PAGE = text("""
SELECT id, kind, key, attempts, not_before, created_at, dead_at, last_error
  FROM bedplate.outbox
 WHERE (CAST(:is_dead AS boolean) IS NULL OR (dead_at IS NOT NULL) = CAST(:is_dead AS boolean))
   AND (CAST(:kind AS text) IS NULL OR kind = CAST(:kind AS text))
   AND (CAST(:below AS uuid) IS NULL OR id < CAST(:below AS uuid))
 ORDER BY id DESC
 LIMIT :limit
""")

WHOLE = text("SELECT * FROM bedplate.outbox WHERE id = :id")

COUNT_DEAD = text("""
SELECT count(*)
  FROM bedplate.outbox
 WHERE dead_at IS NOT NULL
   AND (CAST(:kind AS text) IS NULL OR kind = CAST(:kind AS text))
""")

DEAD_IDS = text("""
SELECT id
  FROM bedplate.outbox
 WHERE dead_at IS NOT NULL
   AND (CAST(:kind AS text) IS NULL OR kind = CAST(:kind AS text))
 ORDER BY id
 LIMIT :limit
""")


async def page(
    connection: AsyncConnection,
    *,
    is_dead: bool | None = None,
    kind: str | None = None,
    below: UUID | None = None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Messages, newest first, from the one before `below` on. `is_dead` None: dead ones or not."""
    values = {"is_dead": is_dead, "kind": kind, "below": below, "limit": limit}
    return [dict(row) for row in (await connection.execute(PAGE, values)).mappings()]


async def load_whole(connection: AsyncConnection, message_id: UUID) -> Mapping[str, Any]:
    """Every column of a message. Raises `NotFoundError`: those acted on are deleted."""
    row = (await connection.execute(WHOLE, {"id": message_id})).mappings().one_or_none()
    if row is None:
        raise NotFoundError(
            f"there is no message {message_id}; those that were acted on are deleted",
            hint="bedplate outbox list",
        )
    return dict(row)


async def count_dead(connection: AsyncConnection, kind: str | None) -> int:
    """How many messages are dead, of this kind or of all."""
    return int(await connection.scalar(COUNT_DEAD, {"kind": kind}) or 0)


async def dead_ids(connection: AsyncConnection, kind: str | None, limit: int) -> list[UUID]:
    """Ids of dead messages, oldest first."""
    found = await connection.execute(DEAD_IDS, {"kind": kind, "limit": limit})
    return list(found.scalars())
