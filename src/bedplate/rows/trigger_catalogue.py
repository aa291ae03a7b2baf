"""The functions and triggers that a database has, as declarations would say them."""

from sqlalchemy import Connection, text

from bedplate.rows.triggers import Function, Programs, Trigger

# Only what a declaration could say: no arguments, PL/pgSQL, and no extension's property.
FUNCTIONS_IN_DATABASE = text("""
SELECT p.proname AS name,
       p.prosrc AS body,
       EXISTS (SELECT FROM pg_trigger t
                WHERE t.tgfoid = p.oid
                  AND (t.tgqual IS NOT NULL OR t.tgnargs > 0 OR t.tgconstraint <> 0
                       OR t.tgtype & 1 = 0)) AS is_kept
  FROM pg_proc p
  JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = current_schema()::regnamespace
   AND p.prorettype = 'trigger'::regtype
   AND p.pronargs = 0
   AND l.lanname = 'plpgsql'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass
                      AND d.objid = p.oid
                      AND d.deptype = 'e')
 ORDER BY p.proname
""")

# tgtype & 1: FOR EACH ROW. A trigger with a WHEN, arguments or a constraint's is left alone.
TRIGGERS_IN_DATABASE = text("""
SELECT t.tgname AS name,
       c.relname AS table_name,
       nullif(n.nspname, current_schema()) AS schema_name,
       p.proname AS function_name,
       substring(pg_get_triggerdef(t.oid) FROM '^CREATE TRIGGER .+? (BEFORE .+?|AFTER .+?) ON ')
         AS event
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_proc p ON p.oid = t.tgfoid
 WHERE NOT t.tgisinternal
   AND t.tgparentid = 0
   AND t.tgconstraint = 0
   AND t.tgqual IS NULL
   AND t.tgnargs = 0
   AND t.tgtype & 1 = 1
   AND p.pronamespace = current_schema()::regnamespace
 ORDER BY n.nspname, c.relname, t.tgname
""")


def read_programs(connection: Connection, schemas: set[str | None]) -> Programs:
    """What is there in these schemas; None is the first of the search path."""
    found = Programs()
    for name, body, is_kept in connection.execute(FUNCTIONS_IN_DATABASE):
        found.functions[name] = Function(name, body)
        if is_kept:
            found.kept.add(name)
    for name, table, schema, function, event in connection.execute(TRIGGERS_IN_DATABASE):
        if schema in schemas and event is not None:
            trigger = Trigger(name, table, function, event, schema)
            found.triggers[schema, table, name] = trigger
    return found
