"""The row-level security that a database has, as declarations would say it."""

from dataclasses import replace

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from bedplate.rows.policies import Policy, RowSecurity, on
from bedplate.rows.triggers import literal_sql, quoted

# Of every role (polroles is {0}): a declaration can say no other.
POLICIES_IN_DATABASE = text("""
SELECT nullif(n.nspname, current_schema()) AS schema_name,
       c.relname AS table_name,
       p.polname AS name,
       pg_get_expr(p.polqual, p.polrelid) AS "using",
       pg_get_expr(p.polwithcheck, p.polrelid) AS "check",
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                     WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,
       NOT p.polpermissive AS is_restrictive,
       p.polroles = '{0}' AS is_for_all
  FROM pg_policy p
  JOIN pg_class c ON c.oid = p.polrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY n.nspname, c.relname, p.polname
""")

TABLES_IN_DATABASE = text("""
SELECT nullif(n.nspname, current_schema()) AS schema_name, c.relname AS table_name
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relrowsecurity
""")

CONDITIONS = text("""
SELECT pg_get_expr(polqual, polrelid) AS "using", pg_get_expr(polwithcheck, polrelid) AS "check"
  FROM pg_policy
 WHERE polrelid = to_regclass(:table)
""")


def read_row_security(connection: Connection, schemas: set[str | None]) -> RowSecurity:
    """What is there in these schemas; None is the first of the search path."""
    found = RowSecurity()
    for schema, table in connection.execute(TABLES_IN_DATABASE):
        if schema in schemas:
            found.tables.add((schema, table))
    for row in connection.execute(POLICIES_IN_DATABASE):
        if row.schema_name not in schemas:
            continue
        if not row.is_for_all:
            found.kept.add((row.schema_name, row.table_name))
            continue
        policy = Policy(
            row.name,
            row.table_name,
            row.using,
            row.check,
            row.command,
            row.is_restrictive,
            row.schema_name,
        )
        found.policies[policy.key] = policy
    return found


def as_stored(connection: Connection, policy: Policy) -> Policy | None:
    """The policy in the words in which PostgreSQL keeps it: casts added, parentheses, no comments.

    It is made on a temporary table of the same name and columns, and rolled back: the table
    itself is neither changed nor locked. None when it cannot be made there, such as on a column
    that the table does not have yet.
    """
    savepoint = connection.begin_nested()
    try:
        connection.execute(
            literal_sql(
                f"CREATE TEMPORARY TABLE {quoted(policy.table)} "
                f"(LIKE {on(policy.schema, policy.table)}) ON COMMIT DROP"
            )
        )
        there = replace(policy, schema="pg_temp")
        connection.execute(literal_sql(there.create_sql()))
        row = connection.execute(CONDITIONS, {"table": on("pg_temp", policy.table)}).one()
    except DBAPIError:
        return None
    finally:
        savepoint.rollback()
    return replace(policy, using=row.using, check=row.check)
