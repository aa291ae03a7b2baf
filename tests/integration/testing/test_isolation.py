"""What one test writes, the next one must not see."""

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from bedplate.rows.database import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from bedplate.testing.clones import Clones, ScratchDatabase

ADD_PARENT = "INSERT INTO public.parents (id) VALUES (1)"
ADD_CHILD = "INSERT INTO public.children (parent_id) VALUES (1) RETURNING id"


@pytest.fixture
async def family(blank_database: "ScratchDatabase", clones: "Clones") -> "ScratchDatabase":
    """A database with two tables that refer to each other, and one with rows from the start."""
    connection = await Database(blank_database.url).connect()
    await connection.execute("""
        CREATE TABLE parents (id int PRIMARY KEY, favourite int);
        CREATE TABLE children (
          id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          parent_id int NOT NULL REFERENCES parents ON DELETE RESTRICT
        );
        ALTER TABLE parents ADD FOREIGN KEY (favourite) REFERENCES children;
        CREATE TABLE languages (code text PRIMARY KEY);
        INSERT INTO languages VALUES ('en');
    """)
    await connection.close()
    clones.watch(blank_database)
    return blank_database


async def test_reset_empties_what_was_filled_whatever_refers_to_what(
    family: "ScratchDatabase", clones: "Clones"
) -> None:
    """Foreign keys in a circle allow no order of DELETEs; one statement needs none."""
    connection = await Database(family.url).connect()
    try:
        await connection.execute(ADD_PARENT)
        first = await connection.fetchval(ADD_CHILD)
        await connection.execute("UPDATE parents SET favourite = $1", first)
        assert clones.reset(family) == ("public.children", "public.parents")
        assert await connection.fetchval("SELECT count(*) FROM parents") == 0
        await connection.execute(ADD_PARENT)
        assert await connection.fetchval(ADD_CHILD) == first
    finally:
        await connection.close()


async def test_reset_keeps_rows_of_migrations(family: "ScratchDatabase", clones: "Clones") -> None:
    """A list of languages that a revision inserted is part of the schema to every test."""
    clones.reset(family)
    connection = await Database(family.url).connect()
    try:
        assert await connection.fetchval("SELECT count(*) FROM languages") == 1
    finally:
        await connection.close()


async def test_reset_names_a_transaction_that_was_left_open(
    family: "ScratchDatabase", clones: "Clones"
) -> None:
    """Waiting for it without end would hang the run and name nobody."""
    connection = await Database(family.url, application_name="forgetful").connect()
    try:
        await connection.execute(ADD_PARENT)
        await connection.execute("BEGIN")
        await connection.execute("LOCK TABLE parents IN SHARE MODE")
        with pytest.raises(AssertionError, match="forgetful idle in transaction"):
            clones.reset(family)
    finally:
        await connection.close()


async def test_commit_of_the_session_is_a_savepoint(
    session: "AsyncSession", librilabs_database: "ScratchDatabase"
) -> None:
    """A test of rows must leave nothing, though the code that it tests commits."""
    await session.execute(text("INSERT INTO users (email) VALUES ('elizabeth@longbourn.example')"))
    await session.commit()
    assert (await session.execute(text("SELECT count(*) FROM users"))).scalar_one() == 1
    connection = await Database(librilabs_database.url).connect()
    try:
        assert await connection.fetchval("SELECT count(*) FROM users") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("email", ["jane@longbourn.example", "mary@longbourn.example"])
async def test_committed_rows_are_gone_before_the_next_test(
    committed: "ScratchDatabase", email: str
) -> None:
    """Run twice: the second would find the row of the first."""
    connection = await Database(committed.url).connect()
    try:
        await connection.execute("INSERT INTO users (email) VALUES ($1)", email)
        assert await connection.fetchval("SELECT count(*) FROM users") == 1
    finally:
        await connection.close()
