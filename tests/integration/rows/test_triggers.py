"""Triggers at work, and as autogenerate sees them."""

import asyncio

import pytest
from sqlalchemy import Column, Connection, DateTime, MetaData, Table, Uuid, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.database import Database
from bedplate.rows.trigger_operations import CreateFunctionOp
from bedplate.rows.triggers import (
    Function,
    Trigger,
    declare_function,
    declare_trigger,
    keep_updated_at,
    programs_of,
)
from tests.integration.rows.library import Base, Book
from tests.integration.rows.revisions import apply, differences, kinds, migration, run


async def test_L16_updated_at_moves_also_for_an_update_round_the_orm(shelf: AsyncSession) -> None:
    """Migrations, psql and bulk statements update too."""
    book = Book(title="Emma")
    shelf.add(book)
    await shelf.commit()
    assert book.updated_at == book.created_at
    await shelf.execute(text("UPDATE books SET title = 'Persuasion'"))
    moved = await shelf.scalar(select(Book.updated_at))
    assert moved is not None
    assert moved > book.created_at


async def test_updated_at_moves_within_one_transaction(shelf: AsyncSession) -> None:
    """clock_timestamp(): a transaction that waited must not write an earlier time over a later."""
    book = Book(title="Emma")
    shelf.add(book)
    await shelf.flush()
    seen = [book.updated_at]
    for title in ("Persuasion", "Lady Susan"):
        book.title = title
        await shelf.flush()
        seen.append(book.updated_at)
    assert seen == sorted(set(seen))


async def test_updated_at_never_runs_back_for_a_row(library: Database) -> None:
    """With now() the first transaction, committing last, would write its start: the past."""
    async with library.session() as setup:
        setup.add(Book(title="Emma"))
        await setup.commit()
    async with library.session() as early, library.session() as late:
        await early.scalar(select(func.now()))
        await late.execute(text("UPDATE books SET shelf = 'b'"))
        middle = await late.scalar(select(Book.updated_at))
        waiting = asyncio.create_task(early.execute(text("UPDATE books SET shelf = 'c'")))
        await late.commit()
        await waiting
        last = await early.scalar(select(Book.updated_at))
    assert middle is not None
    assert last is not None
    assert last > middle


async def test_autogenerate_finds_nothing_on_unchanged_models(library: Database) -> None:
    """An empty revision each time would bury the real ones."""
    assert await run(library, lambda connection: differences(connection, Base.metadata)) == []


async def test_a_schema_from_nothing_and_back_to_nothing(blank: Database) -> None:
    """Tables, function and triggers in one revision, as the first one of a system is."""

    def migrate(connection: Connection) -> None:
        up, down = migration(connection, Base.metadata)
        assert kinds(up)[-2:] == ["CreateFunctionOp", "CreateTriggerOp"]
        assert kinds(down)[:2] == ["DropTriggerOp", "DropFunctionOp"]
        apply(connection, up)
        assert differences(connection, Base.metadata) == []
        apply(connection, down)
        assert differences(connection, MetaData()) == []

    await run(blank, migrate)


async def test_a_changed_body_is_replaced_and_can_be_taken_back(library: Database) -> None:
    """The triggers that hang on the function stay, in both directions."""
    metadata = copy_of(Base.metadata)
    changed = Function("update_updated_at_column", "BEGIN\n    RETURN NEW; -- :no bind\nEND;")
    declare_function(metadata, changed)

    def migrate(connection: Connection) -> None:
        up, down = migration(connection, metadata)
        (operation,) = up
        assert isinstance(operation, CreateFunctionOp)
        assert operation.replaces is not None
        apply(connection, up)
        assert differences(connection, metadata) == []
        apply(connection, down)
        assert differences(connection, Base.metadata) == []

    await run(library, migrate)


@pytest.mark.parametrize("event", ["AFTER UPDATE OF title OR INSERT", "BEFORE DELETE"])
async def test_a_changed_trigger_is_dropped_and_made_again(library: Database, event: str) -> None:
    """Its event may have several parts, which the catalogue orders its own way."""
    metadata = copy_of(Base.metadata)
    declare_trigger(
        metadata, Trigger("books_updated_at", "books", "update_updated_at_column", event)
    )

    def migrate(connection: Connection) -> None:
        up, down = migration(connection, metadata)
        assert kinds(up) == ["DropTriggerOp", "CreateTriggerOp"]
        apply(connection, up)
        assert differences(connection, metadata) == []
        apply(connection, down)
        assert differences(connection, Base.metadata) == []

    await run(library, migrate)


async def test_a_trigger_of_a_table_that_goes_is_dropped_before_it(blank: Database) -> None:
    """The table takes its trigger along; only a revision that says so can bring both back."""
    metadata = MetaData()
    table = Table("notes", metadata, Column("id", Uuid, primary_key=True))
    table.append_column(Column("updated_at", DateTime(timezone=True)))
    keep_updated_at(table)

    def migrate(connection: Connection) -> None:
        metadata.create_all(connection)
        up, down = migration(connection, MetaData())
        assert kinds(up) == ["DropTriggerOp", "DropFunctionOp", "DropTableOp"]
        apply(connection, up)
        apply(connection, down)
        assert differences(connection, metadata) == []

    await run(blank, migrate)


async def test_what_a_declaration_cannot_say_is_left_alone(library: Database) -> None:
    """A trigger with a WHEN was written by hand; autogenerate must not take it away."""
    by_hand = (
        "CREATE FUNCTION by_hand() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        """
        CREATE TRIGGER by_hand BEFORE UPDATE ON books
           FOR EACH ROW WHEN (OLD.title = 'x') EXECUTE FUNCTION by_hand()
        """,
    )
    async with library.engine.begin() as connection:
        for statement in by_hand:
            await connection.execute(text(statement))
    assert await run(library, lambda connection: differences(connection, Base.metadata)) == []


def copy_of(metadata: MetaData) -> MetaData:
    """The same tables and declarations, to be changed."""
    copy = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(copy)
    for function in programs_of(metadata).functions.values():
        declare_function(copy, function)
    for trigger in programs_of(metadata).triggers.values():
        declare_trigger(copy, trigger)
    return copy
