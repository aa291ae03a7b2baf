"""What a system's tests ask the catalogue: columns, constraints, indexes, foreign keys."""

from typing import Any

import asyncpg
import pytest

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
