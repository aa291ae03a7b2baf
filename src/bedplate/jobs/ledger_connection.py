"""The connection that a worker claims and finishes jobs on, past SQLAlchemy.

Promises the same statements as the ledger has, each as a transaction of its own, in a third of
the time. Called by `leases.py` and the worker, as the schema's owner.
"""

import asyncio
from datetime import timedelta
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from bedplate.rows.database import Database

CLOSE_TIMEOUT = timedelta(seconds=1)
DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's


class LedgerConnection:
    """The owner's connection that a worker claims and finishes on, straight on the driver.

    Two statements per job are most of what a small one costs; the pool and SQLAlchemy would treble
    that. Each is its own transaction. Opened when used, and again after it broke.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, statement: TextClause, **values: Any) -> asyncpg.Record | None:
        """The row that the statement returns. Raises `DatabaseUnreachableError`."""
        sql, names = _numbered(statement)
        async with self._turn, self._database.translated():
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._database.connect()
            return await self._connection.fetchrow(sql, *(values[name] for name in names))

    async def close(self) -> None:
        """Close the connection; what does not close in time is cut off."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=CLOSE_TIMEOUT.total_seconds())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


@cache
def _numbered(statement: TextClause) -> tuple[str, tuple[str, ...]]:
    """The statement as the driver takes it, and its parameters' names in their order."""
    compiled = statement.compile(dialect=DIALECT)
    return str(compiled), tuple(compiled.positiontup or ())
