"""What a system's tests ask the catalogue: columns, constraints, indexes, foreign keys."""

from typing import Any

import asyncpg
import pytest
from sqlalchemy import CheckConstraint, MetaData

from tests.systems.conftest import Catalogue

COLUMNS = """
SELECT a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS is_nullable
FROM pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""
CONSTRAINTS = """
SELECT conname AS name, contype::text AS kind, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE conrelid = $1::regclass AND contype <> 'n'
"""
INDEXES = """
SELECT t.relname AS table_name, am.amname AS method,
       array(SELECT a.attname::text
             FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
             ORDER BY k.place) AS columns
FROM pg_index i
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam
WHERE t.relnamespace = 'public'::regnamespace AND i.indisvalid
"""
FOREIGN_KEYS = """
SELECT c.conrelid::regclass::text AS table_name, a.attname AS column_name,
       c.confrelid::regclass::text AS referred, c.confdeltype::text AS on_delete
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
"""
TIMESTAMPS = """
SELECT table_name || '.' || column_name AS name, data_type
FROM information_schema.columns
WHERE table_schema = 'public' AND data_type LIKE ANY (ARRAY['timestamp%', 'date', 'time%'])
"""


async def tables_of(catalogue: Catalogue) -> set[str]:
    """The system's tables, without Alembic's own."""
    rows = await catalogue("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows} - {"alembic_version"}


async def columns_of(catalogue: Catalogue, table: str) -> dict[str, tuple[str, bool]]:
    """Of each column its type, and whether it may be null."""
    rows = await catalogue(COLUMNS, table)
    return {row["name"]: (row["type"], row["is_nullable"]) for row in rows}


async def constraints_of(catalogue: Catalogue, table: str) -> dict[str, str]:
    """Of each constraint but NOT NULL its definition, by its name."""
    return {row["name"]: row["definition"] for row in await catalogue(CONSTRAINTS, table)}


async def refuses(catalogue: Catalogue, constraint: str, statement: str, *values: Any) -> None:
    """Assert that this CHECK constraint refuses the statement."""
    with pytest.raises(asyncpg.CheckViolationError, match=constraint):
        await catalogue(statement, *values)


async def foreign_keys_of(catalogue: Catalogue) -> set[tuple[str, str, str, str]]:
    """Of each one table, column, referred table, and what a deletion does, by its letter."""
    return {
        (row["table_name"], row["column_name"], row["referred"], row["on_delete"])
        for row in await catalogue(FOREIGN_KEYS)
    }


async def indexed(catalogue: Catalogue) -> set[tuple[str, str]]:
    """Table and first column of every index. Asserts that every foreign key is among them."""
    first = {(row["table_name"], row["columns"][0]) for row in await catalogue(INDEXES)}
    assert {key[:2] for key in await foreign_keys_of(catalogue)} <= first
    return first


async def assert_as_models(catalogue: Catalogue, metadata: MetaData) -> None:
    """Tables, columns and nulls are the models', and the checks, which autogenerate leaves out."""
    assert set(metadata.tables) == await tables_of(catalogue)
    for table in metadata.tables.values():
        found = {row["name"]: row["is_nullable"] for row in await catalogue(COLUMNS, table.name)}
        assert found == {column.name: column.nullable for column in table.columns}
        constraints = await constraints_of(catalogue, table.name)
        checks = {name for name, text in constraints.items() if text.startswith("CHECK")}
        declared = (each for each in table.constraints if isinstance(each, CheckConstraint))
        assert {str(each.name) for each in declared} == checks, table.name


async def assert_updated_at_moves(catalogue: Catalogue, table: str) -> None:
    """Of its one row, whatever an UPDATE says; `created_at` stays."""
    (before,) = await catalogue(f"SELECT created_at, updated_at FROM {table}")
    (after,) = await catalogue(
        f"UPDATE {table} SET updated_at = '2000-01-01' RETURNING created_at, updated_at"
    )
    assert after["updated_at"] > before["updated_at"], table
    assert after["created_at"] == before["created_at"], table
