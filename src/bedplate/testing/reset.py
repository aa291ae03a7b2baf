"""Empty the tables that a test wrote to, in well under a millisecond when it wrote to few.

One statement deletes from all of them: foreign keys are checked at its end, so no order is
needed. Rows that migrations inserted are kept: a table that held any when the reset was prepared
is never emptied, and a test that changes such rows takes a database of its own.
"""

from typing import Any

import asyncpg

# Rows that are deleted softly go for good with the test that made them.
PREPARE = "SET lock_timeout = '2s'; SET bedplate.hard_delete = 'on'"

READ_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_%'
  AND (n.nspname, c.relname) NOT IN (('public', 'alembic_version'), ('bedplate', 'version'))
ORDER BY name
"""

RESTART_SEQUENCES = """
SELECT setval(s.seqrelid, s.seqstart, false)
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
WHERE pg_has_role(c.relowner, 'USAGE')
  AND pg_sequence_last_value(s.seqrelid) IS NOT NULL
"""

# Who keeps the reset from its tables: almost always a transaction that a test left open.
READ_OPEN_TRANSACTIONS = """
SELECT pid, application_name, state, query
FROM pg_stat_activity
WHERE datname = current_database()
  AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL
"""


class Reset:
    """Empties one database again and again, on one connection as the owner."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._find_filled = ""

    async def prepare(self) -> None:
        """Learn which tables there are and which belong to the migrated state."""
        await self._connection.execute(PREPARE)
        names = [row["name"] for row in await self._connection.fetch(READ_TABLES)]
        filled = set(await self._read_filled(_find_filled(names)))
        self._find_filled = _find_filled([name for name in names if name not in filled])

    async def run(self) -> tuple[str, ...]:
        """Empty what has rows, restart the sequences; answers the tables' names.

        Raises `AssertionError` when a transaction that was left open holds a table.
        """
        filled = tuple(await self._read_filled(self._find_filled))
        try:
            if filled:
                await self._connection.execute(_delete_from(filled))
            await self._connection.execute(RESTART_SEQUENCES)
        except asyncpg.LockNotAvailableError as error:
            left = await self._connection.fetch(READ_OPEN_TRANSACTIONS)
            raise AssertionError(
                "a test left a transaction open: "
                + "; ".join(
                    f"{row['application_name']} {row['state']}: {row['query']}" for row in left
                )
            ) from error
        return filled

    async def _read_filled(self, statement: str) -> list[str]:
        if not statement:
            return []
        return [row["name"] for row in await self._connection.fetch(statement)]


# Table names come from format('%I.%I') of the server itself: no value of a user is in these.
def _find_filled(names: list[str]) -> str:
    return " UNION ALL ".join(
        f"SELECT '{name.replace(chr(39), chr(39) * 2)}' AS name"  # noqa: S608 - see above
        f" WHERE EXISTS (SELECT FROM {name})"
        for name in names
    )


def _delete_from(names: tuple[str, ...]) -> str:
    steps = ", ".join(
        f"d{index} AS (DELETE FROM {name})"  # noqa: S608 - see above
        for index, name in enumerate(names)
    )
    return f"WITH {steps} SELECT"
