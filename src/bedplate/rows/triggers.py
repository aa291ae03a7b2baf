"""Functions and triggers that belong to a system's tables: declared beside the models.

A declaration stands on the MetaData (`metadata.info`), as a table does. Autogenerate compares it
with the catalogue and writes the operations of `trigger_operations.py`; `create_all` makes it too.
"""

from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Any

from sqlalchemy import Connection, MetaData, Table, TextClause, event, text

INFO_KEY = "bedplate.programs"
# The order in which pg_get_triggerdef names them.
_EVENTS = ("INSERT", "DELETE", "UPDATE", "TRUNCATE")


@dataclass(frozen=True)
class Function:
    """A PL/pgSQL function that returns `trigger`, in the first schema of the search path.

    Indentation that all lines of the body share does not count, nor do blank ends.
    """

    name: str
    body: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", cleandoc(self.body).strip())

    def create_sql(self) -> str:
        """CREATE OR REPLACE: triggers that hang on the function stay."""
        return (
            f"CREATE OR REPLACE FUNCTION {quoted(self.name)}() RETURNS trigger\n"
            f"LANGUAGE plpgsql\n"
            f"AS {dollar_quoted(self.body)}"
        )

    def drop_sql(self) -> str:
        """DROP FUNCTION; PostgreSQL refuses while a trigger needs it."""
        return f"DROP FUNCTION {quoted(self.name)}()"


@dataclass(frozen=True)
class Trigger:
    """A row trigger of one table. `event` stands between name and ON: BEFORE INSERT OR UPDATE.

    Several events are held in PostgreSQL's own order, so that a declaration equals the catalogue.
    """

    name: str
    table: str
    function: str
    event: str = "BEFORE UPDATE"
    schema: str | None = None

    def __post_init__(self) -> None:
        timing, _, events = " ".join(self.event.split()).partition(" ")
        in_order = sorted(events.split(" OR "), key=_event_rank)
        object.__setattr__(self, "event", f"{timing} {' OR '.join(in_order)}")

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
    """What one MetaData declares, or one database has, by name.

    `kept`: functions that a trigger needs which no declaration could say (WHEN, arguments).
    """

    functions: dict[str, Function] = field(default_factory=dict)
    triggers: dict[tuple[str | None, str, str], Trigger] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)


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
        found = metadata.info[INFO_KEY] = Programs()
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


def literal_sql(sql: str) -> TextClause:
    """A statement as it stands: a colon in a function's body is no bound parameter."""
    return text(sql.replace(":", "\\:"))


def _event_rank(event: str) -> int:
    return _EVENTS.index(event.split()[0])


def _create_all(metadata: MetaData, connection: Connection, **options: Any) -> None:
    """What `create_all` does after the tables, for those tables that it has just made."""
    programs = programs_of(metadata)
    made = {(table.schema, table.name) for table in options.get("tables") or ()}
    for function in programs.functions.values():
        connection.execute(literal_sql(function.create_sql()))
    for trigger in programs.triggers.values():
        if (trigger.schema, trigger.table) in made:
            connection.execute(literal_sql(trigger.create_sql()))
