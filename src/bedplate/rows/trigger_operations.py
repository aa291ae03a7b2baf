"""Functions and triggers as Alembic operations, and how autogenerate sees them.

    op.create_function(name, body, replaces=None)    op.drop_function(name, body)
    op.create_trigger(name, table, function, …)      op.drop_trigger(name, table, function, …)

Importing this file registers them; `env.py` does so through `bedplate.migrations.env`. Each is
reversible, so a drop names the whole of what it drops. In a generated revision triggers are
dropped first, then functions; tables come next; new functions and their triggers last: read
backwards, as the downgrade is, that order is right again.
"""

from collections.abc import Iterable
from typing import Any

from alembic.autogenerate import comparators, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import DropTableOp, UpgradeOps
from sqlalchemy import MetaData

from bedplate.rows.trigger_catalogue import read_programs
from bedplate.rows.triggers import Function, Programs, Trigger, literal_sql, programs_of

try:
    from alembic.util import DispatchPriority

    # After the tables. Alembic before 1.18 goes by the order of registration: also after them.
    LAST: dict[str, Any] = {"priority": DispatchPriority.LAST}
except ImportError:
    LAST = {}


@Operations.register_operation("create_function")
class CreateFunctionOp(MigrateOperation):
    """CREATE OR REPLACE FUNCTION … RETURNS trigger; `replaces` is the body it had before."""

    def __init__(self, function: Function, replaces: Function | None = None) -> None:
        self.function = function
        self.replaces = replaces

    @classmethod
    def create_function(
        cls, operations: Operations, name: str, body: str, *, replaces: str | None = None
    ) -> None:
        """Create a trigger function, or replace the one whose body was `replaces`."""
        former = None if replaces is None else Function(name, replaces)
        operations.invoke(cls(Function(name, body), former))

    def reverse(self) -> MigrateOperation:
        """The former body, or no function."""
        if self.replaces is not None:
            return CreateFunctionOp(self.replaces, self.function)
        return DropFunctionOp(self.function)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("add_function" if self.replaces is None else "modify_function", self.function)


@Operations.register_operation("drop_function")
class DropFunctionOp(MigrateOperation):
    """DROP FUNCTION."""

    def __init__(self, function: Function) -> None:
        self.function = function

    @classmethod
    def drop_function(cls, operations: Operations, name: str, body: str = "") -> None:
        """Drop a trigger function; `body` is what the reverse would create."""
        operations.invoke(cls(Function(name, body)))

    def reverse(self) -> MigrateOperation:
        """The function again."""
        return CreateFunctionOp(self.function)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("remove_function", self.function)


@Operations.register_operation("create_trigger")
class CreateTriggerOp(MigrateOperation):
    """CREATE TRIGGER … FOR EACH ROW EXECUTE FUNCTION …()."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger

    @classmethod
    def create_trigger(
        cls,
        operations: Operations,
        name: str,
        table: str,
        function: str,
        *,
        event: str = "BEFORE UPDATE",
        schema: str | None = None,
    ) -> None:
        """Create a row trigger."""
        operations.invoke(cls(Trigger(name, table, function, event, schema)))

    def reverse(self) -> MigrateOperation:
        """No trigger."""
        return DropTriggerOp(self.trigger)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("add_trigger", self.trigger)


@Operations.register_operation("drop_trigger")
class DropTriggerOp(MigrateOperation):
    """DROP TRIGGER."""

    def __init__(self, trigger: Trigger) -> None:
        self.trigger = trigger

    @classmethod
    def drop_trigger(
        cls,
        operations: Operations,
        name: str,
        table: str,
        function: str = "",
        *,
        event: str = "BEFORE UPDATE",
        schema: str | None = None,
    ) -> None:
        """Drop a row trigger; function and event are what the reverse would create."""
        operations.invoke(cls(Trigger(name, table, function, event, schema)))

    def reverse(self) -> MigrateOperation:
        """The trigger again."""
        return CreateTriggerOp(self.trigger)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("remove_trigger", self.trigger)


@Operations.implementation_for(CreateFunctionOp)
def _create_function(operations: Operations, operation: CreateFunctionOp) -> None:
    operations.execute(literal_sql(operation.function.create_sql()))


@Operations.implementation_for(DropFunctionOp)
def _drop_function(operations: Operations, operation: DropFunctionOp) -> None:
    operations.execute(literal_sql(operation.function.drop_sql()))


@Operations.implementation_for(CreateTriggerOp)
def _create_trigger(operations: Operations, operation: CreateTriggerOp) -> None:
    operations.execute(literal_sql(operation.trigger.create_sql()))


@Operations.implementation_for(DropTriggerOp)
def _drop_trigger(operations: Operations, operation: DropTriggerOp) -> None:
    operations.execute(literal_sql(operation.trigger.drop_sql()))


@renderers.dispatch_for(CreateFunctionOp)
def _render_create_function(_context: AutogenContext, operation: CreateFunctionOp) -> str:
    arguments = [repr(operation.function.name), _render_body(operation.function)]
    if operation.replaces is not None:
        arguments.append(f"replaces={_render_body(operation.replaces)}")
    return _render_call("create_function", arguments)


@renderers.dispatch_for(DropFunctionOp)
def _render_drop_function(_context: AutogenContext, operation: DropFunctionOp) -> str:
    function = operation.function
    return _render_call("drop_function", [repr(function.name), _render_body(function)])


@renderers.dispatch_for(CreateTriggerOp)
def _render_create_trigger(_context: AutogenContext, operation: CreateTriggerOp) -> str:
    return _render_call("create_trigger", _render_trigger(operation.trigger))


@renderers.dispatch_for(DropTriggerOp)
def _render_drop_trigger(_context: AutogenContext, operation: DropTriggerOp) -> str:
    return _render_call("drop_trigger", _render_trigger(operation.trigger))


def _render_call(name: str, arguments: Iterable[str]) -> str:
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return f"op.{name}(\n{lines})"


def _render_trigger(trigger: Trigger) -> list[str]:
    arguments = [repr(trigger.name), repr(trigger.table), repr(trigger.function)]
    arguments.append(f"event={trigger.event!r}")
    if trigger.schema is not None:
        arguments.append(f"schema={trigger.schema!r}")
    return arguments


def _render_body(function: Function) -> str:
    """A body over several lines, as a person would write it; its indentation does not count."""
    if "\\" in function.body or '"""' in function.body:
        return repr(function.body)
    lines = "".join(f"    {line}\n" if line else "\n" for line in function.body.splitlines())
    return f'"""\n{lines}    """'


@comparators.dispatch_for("schema", qualifier="postgresql", **LAST)
def _compare(context: AutogenContext, upgrade: UpgradeOps, schemas: Iterable[str | None]) -> None:
    if context.connection is None:
        return
    declared = _declared(context.metadata)
    found = read_programs(context.connection, set(schemas))
    dropped = {(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, DropTableOp)}
    # A trigger on a table that autogenerate was told to leave alone is left alone too.
    ours = dropped | {(table.schema, table.name) for table in context.sorted_tables}
    upgrade.ops[:0] = _drops(declared, found, ours)
    upgrade.ops.extend(_creations(declared, found, set(schemas)))


def _drops(
    declared: Programs, found: Programs, ours: set[tuple[str | None, str]]
) -> list[MigrateOperation]:
    triggers: list[MigrateOperation] = [
        DropTriggerOp(trigger)
        for key, trigger in found.triggers.items()
        if key[:2] in ours and declared.triggers.get(key) != trigger
    ]
    still_used = found.kept | {
        trigger.function for key, trigger in found.triggers.items() if key[:2] not in ours
    }
    functions = [
        DropFunctionOp(function)
        for name, function in found.functions.items()
        if name not in declared.functions and name not in still_used
    ]
    return [*triggers, *functions]


def _creations(
    declared: Programs, found: Programs, schemas: set[str | None]
) -> list[MigrateOperation]:
    functions: list[MigrateOperation] = [
        CreateFunctionOp(function, found.functions.get(name))
        for name, function in declared.functions.items()
        if found.functions.get(name) != function
    ]
    triggers = [
        CreateTriggerOp(trigger)
        for key, trigger in declared.triggers.items()
        if key[0] in schemas and found.triggers.get(key) != trigger
    ]
    return [*functions, *triggers]


def _declared(metadata: MetaData | Iterable[MetaData] | None) -> Programs:
    every = [metadata] if isinstance(metadata, MetaData) else list(metadata or ())
    merged = Programs()
    for one in every:
        merged.functions.update(programs_of(one).functions)
        merged.triggers.update(programs_of(one).triggers)
    return merged
