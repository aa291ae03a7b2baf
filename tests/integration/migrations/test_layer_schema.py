"""The tables of the schema bedplate: made by SQL files, described by Table objects, the same."""

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

import bedplate.delivery.inbox
import bedplate.delivery.outbox
import bedplate.files.table
import bedplate.jobs.direct_claims
import bedplate.jobs.scheduler
import bedplate.jobs.table  # noqa: F401 - each adds its tables to LAYER_METADATA
from bedplate.migrations.layer_schema import layer_revisions, read_applied
from bedplate.migrations.steps import migration_database
from bedplate.migrations.upgrade import upgrade
from bedplate.rows.layer_metadata import LAYER_METADATA

if TYPE_CHECKING:
    from bedplate.settings import Settings
    from bedplate.system import System

# Everything about the tables but the one that only revisions know.
DIGEST = """
SELECT c.relname AS of, 'column ' || a.attname AS what,
       format('%s %s %s', format_type(a.atttypid, a.atttypmod), a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid)) AS definition
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'bedplate'::regnamespace AND c.relkind = 'r' AND c.relname <> 'version'
UNION ALL
SELECT c.relname, 'constraint ' || k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
WHERE k.connamespace = 'bedplate'::regnamespace AND c.relname <> 'version' AND k.contype <> 'n'
UNION ALL
SELECT c.relname, 'index ' || i.indexrelid::regclass, pg_get_indexdef(i.indexrelid)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relnamespace = 'bedplate'::regnamespace AND c.relname <> 'version'
UNION ALL
SELECT c.relname, 'trigger ' || t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'bedplate'::regnamespace AND NOT t.tgisinternal
UNION ALL
SELECT tablename, 'policy ' || policyname, format('%s %s %s', cmd, qual, with_check)
FROM pg_policies
WHERE schemaname = 'bedplate'
UNION ALL
SELECT c.relname, 'options', format('%s %s', c.relrowsecurity, c.reloptions)
FROM pg_class AS c
WHERE c.relnamespace = 'bedplate'::regnamespace AND c.relkind = 'r' AND c.relname <> 'version'
ORDER BY 1, 2
"""
# What policies and triggers call, and no Table object describes.
MAKE_FUNCTIONS = """
SELECT pg_get_functiondef('bedplate.current_tenant'::regproc),
       pg_get_functiondef('bedplate.check_job'::regproc)
"""


async def test_migrated_tables_equal_their_descriptions(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """Queries are written against the descriptions; a column that differs fails in production."""
    await upgrade(sample, settings)
    migrated = await owner.fetch(DIGEST)
    assert len(migrated) > 40
    functions = await owner.fetchrow(MAKE_FUNCTIONS)
    await owner.execute("DROP SCHEMA bedplate CASCADE; CREATE SCHEMA bedplate")
    for function in functions:
        await owner.execute(function)
    async with migration_database(settings) as database, database.engine.begin() as connection:
        await connection.run_sync(LAYER_METADATA.create_all)
    assert await owner.fetch(DIGEST) == migrated


async def test_autogenerate_finds_nothing_in_our_schema(
    sample: "System", settings: "Settings"
) -> None:
    """The same, as Alembic sees it."""
    await upgrade(sample, settings)
    async with migration_database(settings) as database, database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_applied_revisions_are_recorded(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """What is recorded is never run again."""
    assert await read_applied(owner) == ()
    await upgrade(sample, settings)
    assert await read_applied(owner) == tuple(each.number for each in layer_revisions())


def _differences(connection: Connection) -> list[Any]:
    def is_ours(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name == "bedplate"
        return not (kind == "table" and name == "version")

    context = MigrationContext.configure(
        connection,
        opts={"include_schemas": True, "include_name": is_ours, "compare_server_default": True},
    )
    return list(compare_metadata(context, LAYER_METADATA))
