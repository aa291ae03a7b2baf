"""Transactions: I1 they are whole, I2 they last, I11 none is left open, I12 none costs for ever."""

from typing import Any

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, UniqueConstraint, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.consistency.finding import Checked, Finding, Rule, Subject, apply_rules
from bedplate.rows.layer_metadata import LAYER_METADATA, TRIGGERS

# Every column that refers to a stored file, whatever table it is in.
REFERENCES = text("""
SELECT format('%I.%I', namespace.nspname, class.relname) AS table_name,
       quote_ident(attribute.attname) AS column_name
  FROM pg_constraint AS found
  JOIN pg_class AS class ON class.oid = found.conrelid
  JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
  JOIN pg_attribute AS attribute
    ON attribute.attrelid = found.conrelid AND attribute.attnum = found.conkey[1]
 WHERE found.contype = 'f'
   AND found.confrelid = 'bedplate.stored_files'::regclass
   AND cardinality(found.conkey) = 1
   AND found.conparentid = 0
 ORDER BY 1, 2
""")
NOT_COMMITTED = """
SELECT format('%s, file %s', '{table}', file.id) AS subject,
       format('a row names it in {column}, and the file is %s', file.state) AS why
  FROM {table} AS referring
  JOIN bedplate.stored_files AS file ON file.id = referring.{column}
 WHERE file.state IN ({states})
 LIMIT :limit
"""
UNVALIDATED = text("""
SELECT format('constraint %I on %s', conname, conrelid::regclass) AS subject,
       'it was never validated: rows from before it may break it' AS why
  FROM pg_constraint
 WHERE NOT convalidated
   AND contype IN ('c', 'f')
   AND connamespace NOT IN (SELECT oid FROM pg_namespace
                             WHERE nspname IN ('pg_catalog', 'information_schema'))
 LIMIT :limit
""")
BROKEN_INDEX = text("""
SELECT format('index %s on %s', indexrelid::regclass, indrelid::regclass) AS subject,
       'it is not valid: it neither finds nor refuses what it should' AS why
  FROM pg_index
 WHERE NOT indisvalid OR NOT indisready
 LIMIT :limit
""")
PRESENT = text("""
SELECT conname AS name
  FROM pg_constraint
 WHERE connamespace = 'bedplate'::regnamespace
 UNION
SELECT relname
  FROM pg_class
 WHERE relnamespace = 'bedplate'::regnamespace
   AND relkind IN ('i', 'r')
 UNION
SELECT tgname
  FROM pg_trigger
  JOIN pg_class AS class ON class.oid = tgrelid
 WHERE class.relnamespace = 'bedplate'::regnamespace
   AND tgenabled IN ('O', 'A')
""")
NOT_DURABLE = text("""
SELECT 'setting ' || name AS subject,
       format('%s is %s: an acknowledged commit may be lost or torn', name, setting) AS why
  FROM pg_settings
 WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
   AND setting = 'off'
 UNION ALL
SELECT format('%s for %s', entry,
              CASE setrole WHEN 0 THEN 'every role' ELSE setrole::regrole::text END),
       'commits are acknowledged before they are on the disk'
  FROM pg_db_role_setting, unnest(setconfig) AS entry
 WHERE entry = 'synchronous_commit=off'
   AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
 LIMIT :limit
""")
LEFT_OPEN = text("""
SELECT 'pid ' || pid AS subject,
       format('%s is %s since %s: %s', coalesce(nullif(application_name, ''), usename), state,
              state_change, left(query, 100)) AS why
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND state LIKE 'idle in transaction%'
   AND state_change < now() - CAST(:patience AS interval)
 LIMIT :limit
""")
PREPARED = text("""
SELECT 'prepared transaction ' || gid AS subject,
       format('%s prepared it at %s, and nobody has ended it', owner, prepared) AS why
  FROM pg_prepared_xacts
 WHERE database = current_database()
   AND prepared < now() - CAST(:patience AS interval)
 LIMIT :limit
""")
WAITING = text("""
SELECT 'pid ' || lock.pid AS subject,
       format('it waits for a lock since %s, held by %s', lock.waitstart,
              array_to_string(pg_blocking_pids(lock.pid), ', ')) AS why
  FROM pg_locks AS lock
 WHERE NOT lock.granted
   AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND lock.waitstart < now() - CAST(:patience AS interval)
 LIMIT :limit
""")
LONG = text("""
SELECT 'pid ' || pid AS subject,
       format('%s has a transaction since %s: no row that died since is cleaned up: %s',
              coalesce(nullif(application_name, ''), usename), xact_start, left(query, 100)) AS why
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND backend_xmin IS NOT NULL
   AND pid <> pg_backend_pid()
   AND xact_start < now() - 5 * CAST(:patience AS interval)
 ORDER BY xact_start
 LIMIT :limit
""")
IDLE_SLOT = text("""
SELECT 'replication slot ' || slot_name AS subject,
       'nobody reads it: the server keeps all WAL, and dead rows, for it' AS why
  FROM pg_replication_slots
 WHERE NOT active
 LIMIT :limit
""")
BLOATED = text("""
SELECT format('table bedplate.%I', relname) AS subject,
       format('%s dead rows beside %s live ones; last vacuumed %s', n_dead_tup, n_live_tup,
              coalesce(greatest(last_vacuum, last_autovacuum)::text, 'never')) AS why
  FROM pg_stat_user_tables
 WHERE schemaname = 'bedplate'
   AND n_dead_tup > 50000
   AND n_dead_tup > 2 * n_live_tup
 LIMIT :limit
""")
FULL_NOTIFY_QUEUE = text("""
SELECT 'the queue of NOTIFY' AS subject,
       format('%s %% of it is used: a session that listens does not read', round(used * 100)) AS why
  FROM (SELECT pg_notification_queue_usage()::numeric AS used) AS queue
 WHERE used > 0.1
 LIMIT :limit
""")

END_IT = "Find what it waits for, or end it: SELECT pg_terminate_backend(PID)."


async def transactions_are_whole(subject: Subject) -> Checked:
    """I1: no row without its file, and every constraint that keeps the rest is in force."""
    checked = Checked(noun="references and constraints")
    hint = "Bring the schema up to date: bedplate migrate; compare with ARCHITECTURE.md."
    async with subject.reading() as connection:
        for rule in (
            Rule(UNVALIDATED, "ALTER TABLE … VALIDATE CONSTRAINT …"),
            Rule(BROKEN_INDEX, "REINDEX INDEX CONCURRENTLY …"),
        ):
            checked.findings += await rule.apply(1, subject, connection)
        present = set((await connection.execute(PRESENT)).scalars())
        expected = _expected_names(connection)
        checked.findings += [
            Finding(1, f"{name} in the schema bedplate", "it is missing", hint)
            for name in sorted(expected - present)
        ]
        references = (await connection.execute(REFERENCES)).all()
        for row in references:
            checked.findings += await _references(
                subject, connection, row.table_name, row.column_name
            )
    checked.looked_at = len(expected) + len(references)
    return checked


async def commits_last(subject: Subject) -> Checked:
    """I2: the server writes a commit to the disk before it acknowledges it."""
    hint = "Set it to on and reload; without it no promise about commits holds."
    return await apply_rules(2, subject, Rule(NOT_DURABLE, hint))


async def nothing_is_left_open(subject: Subject) -> Checked:
    """I11: no transaction is idle, none is prepared and forgotten, nobody waits for ever."""
    prepared = "ROLLBACK PREPARED '…', or COMMIT PREPARED '…'; bedplate itself prepares none."
    return await apply_rules(
        11, subject, Rule(LEFT_OPEN, END_IT), Rule(WAITING, END_IT), Rule(PREPARED, prepared)
    )


async def costs_return(subject: Subject) -> Checked:
    """I12: nothing keeps dead rows, WAL or notifications for ever."""
    slot = "If nothing will read it again: SELECT pg_drop_replication_slot('…')."
    vacuum = "Look for a long transaction above; then VACUUM (VERBOSE) the table."
    return await apply_rules(
        12,
        subject,
        Rule(LONG, END_IT, is_warning=True),
        Rule(IDLE_SLOT, slot, is_warning=True),
        Rule(BLOATED, vacuum, is_warning=True),
        Rule(FULL_NOTIFY_QUEUE, END_IT, is_warning=True),
    )


async def _references(
    subject: Subject, connection: AsyncConnection, table: str, column: str
) -> list[Finding]:
    """Rows that name a file which was never committed, or whose object is gone."""
    findings = []
    # A file commits with what names it, so pending is a transaction that was torn; what was deleted
    # since may rightly be named until its row is forgotten.
    for states, hint, is_warning in (
        ("'pending'", "Delete the row, or store its file again: the bytes may be missing.", False),
        ("'gone'", "Delete the row, or set its column to NULL: the bytes are gone.", True),
    ):
        names: dict[str, Any] = {"table": table, "column": column, "states": states}
        # Both names come quoted from the server's own catalogue.
        query = text(NOT_COMMITTED.format(**names))
        findings += await Rule(query, hint, is_warning).apply(1, subject, connection)
    return findings


def _expected_names(connection: AsyncConnection) -> set[str]:
    """Tables, indexes, triggers and constraints of the layer, as its Table objects name them."""
    preparer = connection.dialect.identifier_preparer
    names = set()
    for table in LAYER_METADATA.tables.values():
        names.add(table.name)
        names |= {str(each.name) for each in table.indexes} | table.info.get(TRIGGERS, set())
        names |= {
            str(preparer.format_constraint(each))
            for each in table.constraints
            if isinstance(each, CheckConstraint | UniqueConstraint | PrimaryKeyConstraint)
        }
    return names
