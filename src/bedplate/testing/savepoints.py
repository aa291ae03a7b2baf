"""A session whose commits are savepoints of one transaction that is rolled back at the end.

About 0.1 ms a test. For tests of rows on one connection: others see nothing of it, and `now()`
stands still. Jobs, triggers that compare times, and several connections need real commits.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.database import Database
from bedplate.rows.present_rows import RowSession


@asynccontextmanager
async def savepoint_session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session on one connection of `database`; nothing of it stays."""
    async with database.engine.connect() as connection:
        outer = await connection.begin()
        session = AsyncSession(
            bind=connection,
            expire_on_commit=False,
            join_transaction_mode="create_savepoint",
            sync_session_class=RowSession,
        )
        try:
            yield session
        finally:
            await session.close()
            await outer.rollback()
