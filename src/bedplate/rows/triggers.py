"""Functions and triggers that belong to a system's tables: declared beside the models.

A declaration stands on the MetaData (`metadata.info`), as a table does. Autogenerate compares it
with the catalogue and writes the operations of `trigger_operations.py`; `create_all` makes it too.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event, text

INFO_KEY = "bedplate.programs"


@dataclass(frozen=True)
class Function:
    """A function without arguments that returns `trigger`, in the schema of the search path."""

    name: str
    body: str
    language: str = "plpgsql"

    def create_sql(self) -> str:
        """CREATE OR REPLACE: triggers that hang on the function stay."""
        return (
            f"CREATE OR REPLACE FUNCTION {quoted(self.name)}() RETURNS trigger\n"
            f"LANGUAGE {quoted(self.language)}\n"
            f"AS {dollar_quoted(self.body)}"
        )

    def drop_sql(self) -> str:
        """DROP FUNCTION; PostgreSQL refuses while a trigger needs it."""
        return f"DROP FUNCTION {quoted(self.name)}()"


@dataclass(frozen=True)
class Trigger:
    """A trigger of one table. `event` is what stands between name and ON: BEFORE UPDATE."""

    name: str
    table: str
    function: str
    event: str = "BEFORE UPDATE"
    schema: str | None = None

    def create_sql(self) -> str:
        """CREATE TRIGGER … FOR EACH ROW."""
        return (
            f"CREATE TRIGGER {quoted(self.name)} {self.event} ON {self._on()} "
            f"FOR EACH ROW EXECUTE FUNCTION {quoted(self.function)}()"
        )

    def drop_sql(self) -> str:
        """DROP TRIGGER."""
        return f"DROP TRIGGER {quoted(self.name)} ON {self._on()}"

    def _on(self) -> str:
        table = quoted(self.table)
        return f"{quoted(self.schema)}.{table}" if self.schema else table


@dataclass
class Programs:
    """What one MetaData declares, by name."""

    functions: dict[str, Function]
    triggers: dict[tuple[str | None, str, str], Trigger]


# clock_timestamp() and not now(), which is the transaction's start: a transaction that waited for
# another's row would write an earlier time over a later one. So for one row it never runs back.
UPDATED_AT_FUNCTION = Function(
    name="update_updated_at_column",
    body="BEGIN\n    NEW.updated_at = clock_timestamp();\n    RETURN NEW;\nEND;",
)


def keep_updated_at(table: Table) -> None:
    """Declare that a trigger keeps this table's `updated_at`, whoever updates it."""
    declare_function(table.metadata, UPDATED_AT_FUNCTION)
    declare_trigger(
        table.metadata,
        Trigger(
            name=f"{table.name}_updated_at",
            table=table.name,
            function=UPDATED_AT_FUNCTION.name,
            schema=table.schema,
        ),
    )


def declare_function(metadata: MetaData, function: Function) -> None:
    """Make a function part of the schema that `metadata` describes."""
    programs_of(metadata).functions[function.name] = function


def declare_trigger(metadata: MetaData, trigger: Trigger) -> None:
    """Make a trigger part of the schema that `metadata` describes."""
    programs_of(metadata).triggers[trigger.schema, trigger.table, trigger.name] = trigger


def programs_of(metadata: MetaData) -> Programs:
    """What `metadata` declares so far; empty at first."""
    found: Programs | None = metadata.info.get(INFO_KEY)
    if found is None:
        found = metadata.info[INFO_KEY] = Programs({}, {})
        event.listen(metadata, "after_create", _create_all)
    return found


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def dollar_quoted(body: str) -> str:
    """An SQL string for a function's body, between markers that the body does not contain."""
    mark = "$body$"
    while mark in body:
        mark = f"{mark[:-1]}_$"
    return f"{mark}\n{body}\n{mark}"


def _create_all(metadata: MetaData, connection: Connection, **options: Any) -> None:
    """What `create_all` does after the tables, for those tables that it has just made."""
    programs = programs_of(metadata)
    made = {(table.schema, table.name) for table in options.get("tables") or ()}
    for function in programs.functions.values():
        connection.execute(_literal(function.create_sql()))
    for trigger in programs.triggers.values():
        if (trigger.schema, trigger.table) in made:
            connection.execute(_literal(trigger.create_sql()))


def _literal(sql: str) -> Any:
    # A colon in a body is no bound parameter.
    return text(sql.replace(":", "\\:"))
