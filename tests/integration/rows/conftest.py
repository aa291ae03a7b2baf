"""Fixtures of the rows' tests: an empty database, and one with the library's tables."""

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.database import Database
from bedplate.testing.clones import ScratchDatabase
from tests.integration.rows.library import Base

MakeDatabase = Callable[..., Database]


@pytest.fixture
async def make_database(blank_database: ScratchDatabase) -> AsyncIterator[MakeDatabase]:
    """Makes databases on the blank one, as its owner unless told; closes them afterwards."""
    made: list[Database] = []

    def make(**options: object) -> Database:
        database = Database(blank_database.url, **options)  # type: ignore[arg-type] # the test's
        made.append(database)
        return database

    yield make
    for database in made:
        await database.close()


@pytest.fixture
async def library(make_database: MakeDatabase) -> Database:
    """A database with the library's tables, entered as their owner."""
    return await with_tables(make_database(), Base.metadata)


@pytest.fixture
async def shelf(library: Database) -> AsyncIterator[AsyncSession]:
    """A session on the library."""
    async with library.session() as session:
        yield session


@pytest.fixture
def blank(make_database: MakeDatabase) -> Database:
    """A database without tables, entered as its owner."""
    return make_database()


async def with_tables(database: Database, metadata: MetaData) -> Database:
    """The same, with these tables made."""
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    return database
