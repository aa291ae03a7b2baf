"""Indexes that a broken CREATE INDEX CONCURRENTLY left INVALID: dropped in time, or rebuilt.

PostgreSQL keeps such an index up to date and never reads it. `IF NOT EXISTS` then keeps it for
ever; without it the repeated revision fails on the name. Both are mended here, under the lock.
"""

import logging
from typing import Any

# Not those that someone builds at this moment, nor what others own.
READ_INVALID = """
SELECT c.relname AS name, format('%I.%I', n.nspname, c.relname) AS qualified
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid
  AND c.relkind = 'i'
  AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
  AND pg_has_role(c.relowner, 'USAGE')
  AND NOT EXISTS (
    SELECT
    FROM pg_stat_progress_create_index AS p
    WHERE p.index_relid = i.indexrelid
  )
"""
# What REINDEX CONCURRENTLY calls the copy that it builds; invalid, it is a leftover of its own.
COPY_MARK = "_ccnew"

log = logging.getLogger("bedplate.migrations")


async def drop_named_in(connection: Any, message: str) -> bool:
    """Drop the invalid index that an "already exists" error names; whether there was one."""
    for index in await connection.fetch(READ_INVALID):
        if f'"{index["name"]}"' in message:
            await _drop(connection, index["qualified"])
            return True
    return False


async def rebuild(connection: Any) -> None:
    """Rebuild every invalid index without blocking writes."""
    for index in await connection.fetch(READ_INVALID):
        if COPY_MARK in index["name"]:
            await _drop(connection, index["qualified"])
        else:
            await connection.execute(f"REINDEX INDEX CONCURRENTLY {index['qualified']}")
            log.warning("An invalid index was rebuilt", extra={"index": index["qualified"]})


async def _drop(connection: Any, qualified: str) -> None:
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {qualified}")
    log.warning("An invalid index was dropped", extra={"index": qualified})
