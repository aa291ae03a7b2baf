"""The connection that a worker claims and finishes jobs on, past SQLAlchemy.

Promises the same statements as the ledger has, each as a transaction of its own, in a third of
the time. Called by `leases.py` and the worker, as the schema's owner.
"""

from typing import Any

import asyncpg
from sqlalchemy import TextClause

from bedplate.rows.database import Database
from bedplate.rows.driver import DriverConnection


class LedgerConnection:
    """The owner's connection that a worker claims and finishes on, straight on the driver.

    Two statements per job are most of what a small one costs; the pool and SQLAlchemy would treble
    that. Each is its own transaction. Opened when used, and again after it broke.
    """

    def __init__(self, database: Database) -> None:
        self._connection = DriverConnection(database)

    async def fetch(self, statement: TextClause, **values: Any) -> asyncpg.Record | None:
        """The row that the statement returns. Raises `DatabaseUnreachableError`."""
        rows = await self._connection.fetch(statement, **values)
        return rows[0] if rows else None

    async def close(self) -> None:
        """Close the connection; what does not close in time is cut off."""
        await self._connection.close()
