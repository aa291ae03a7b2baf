"""Row-level security as Alembic operations, and how autogenerate sees it.

    op.enable_row_security(table)                 op.disable_row_security(table)
    op.create_policy(name, table, using=…, …)     op.drop_policy(name, table, using=…, …)

Importing this file registers them; `env.py` does so through `bedplate.migrations.env`. Each is
reversible, so a drop names the whole of what it drops. In a generated revision policies are
dropped first and made last, after the tables; a table is put under row-level security before it
gets its first policy, so that at no time a row is seen that should not be.
"""

from collections.abc import Iterable
from typing import Any

from alembic.autogenerate import comparators, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import DropTableOp, UpgradeOps
from sqlalchemy import Connection, MetaData

from bedplate.rows.policies import (
    Command,
    Policy,
    RowSecurity,
    TableKey,
    row_security_of,
    switch_sql,
)
from bedplate.rows.policy_catalogue import as_stored, read_row_security
from bedplate.rows.trigger_operations import LAST
from bedplate.rows.triggers import literal_sql


@Operations.register_operation("enable_row_security")
class EnableRowSecurityOp(MigrateOperation):
    """ALTER TABLE … ENABLE ROW LEVEL SECURITY."""

    def __init__(self, table: str, schema: str | None = None) -> None:
        self.table = table
        self.schema = schema

    @classmethod
    def enable_row_security(
        cls, operations: Operations, table: str, *, schema: str | None = None
    ) -> None:
        """Put a table under row-level security: without a policy nobody but its owner sees rows."""
        operations.invoke(cls(table, schema))

    def reverse(self) -> MigrateOperation:
        """Every row for everybody who may read the table."""
        return DisableRowSecurityOp(self.table, self.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("enable_row_security", self.schema, self.table)


@Operations.register_operation("disable_row_security")
class DisableRowSecurityOp(MigrateOperation):
    """ALTER TABLE … DISABLE ROW LEVEL SECURITY."""

    def __init__(self, table: str, schema: str | None = None) -> None:
        self.table = table
        self.schema = schema

    @classmethod
    def disable_row_security(
        cls, operations: Operations, table: str, *, schema: str | None = None
    ) -> None:
        """Take a table out of row-level security: its policies no longer count."""
        operations.invoke(cls(table, schema))

    def reverse(self) -> MigrateOperation:
        """Under it again."""
        return EnableRowSecurityOp(self.table, self.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("disable_row_security", self.schema, self.table)


@Operations.register_operation("create_policy")
class CreatePolicyOp(MigrateOperation):
    """CREATE POLICY."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @classmethod
    def create_policy(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        using: str | None = None,
        check: str | None = None,
        command: Command = "ALL",
        is_restrictive: bool = False,
        schema: str | None = None,
    ) -> None:
        """Create a policy for every role."""
        policy = Policy(name, table, using, check, command, is_restrictive, schema)
        operations.invoke(cls(policy))

    def reverse(self) -> MigrateOperation:
        """No policy."""
        return DropPolicyOp(self.policy)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("add_policy", self.policy)


@Operations.register_operation("drop_policy")
class DropPolicyOp(MigrateOperation):
    """DROP POLICY."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @classmethod
    def drop_policy(
        cls,
        operations: Operations,
        name: str,
        table: str,
        *,
        using: str | None = None,
        check: str | None = None,
        command: Command = "ALL",
        is_restrictive: bool = False,
        schema: str | None = None,
    ) -> None:
        """Drop a policy; all but name and table is what the reverse would create."""
        policy = Policy(name, table, using, check, command, is_restrictive, schema)
        operations.invoke(cls(policy))

    def reverse(self) -> MigrateOperation:
        """The policy again."""
        return CreatePolicyOp(self.policy)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What `alembic check` prints."""
        return ("remove_policy", self.policy)


@Operations.implementation_for(EnableRowSecurityOp)
def _enable(operations: Operations, operation: EnableRowSecurityOp) -> None:
    sql = switch_sql(operation.schema, operation.table, is_enabled=True)
    operations.execute(literal_sql(sql))


@Operations.implementation_for(DisableRowSecurityOp)
def _disable(operations: Operations, operation: DisableRowSecurityOp) -> None:
    sql = switch_sql(operation.schema, operation.table, is_enabled=False)
    operations.execute(literal_sql(sql))


@Operations.implementation_for(CreatePolicyOp)
def _create_policy(operations: Operations, operation: CreatePolicyOp) -> None:
    operations.execute(literal_sql(operation.policy.create_sql()))


@Operations.implementation_for(DropPolicyOp)
def _drop_policy(operations: Operations, operation: DropPolicyOp) -> None:
    operations.execute(literal_sql(operation.policy.drop_sql()))


@renderers.dispatch_for(EnableRowSecurityOp)
def _render_enable(_context: AutogenContext, operation: EnableRowSecurityOp) -> str:
    return f"op.enable_row_security({_render_table(operation.table, operation.schema)})"


@renderers.dispatch_for(DisableRowSecurityOp)
def _render_disable(_context: AutogenContext, operation: DisableRowSecurityOp) -> str:
    return f"op.disable_row_security({_render_table(operation.table, operation.schema)})"


@renderers.dispatch_for(CreatePolicyOp)
def _render_create_policy(_context: AutogenContext, operation: CreatePolicyOp) -> str:
    return f"op.create_policy({_render_policy(operation.policy)})"


@renderers.dispatch_for(DropPolicyOp)
def _render_drop_policy(_context: AutogenContext, operation: DropPolicyOp) -> str:
    return f"op.drop_policy({_render_policy(operation.policy)})"


def _render_table(table: str, schema: str | None) -> str:
    return repr(table) if schema is None else f"{table!r}, schema={schema!r}"


def _render_policy(policy: Policy) -> str:
    plain = Policy(policy.name, policy.table)
    named = ("using", "check", "command", "is_restrictive", "schema")
    arguments = [repr(policy.name), repr(policy.table)]
    arguments += [
        f"{name}={value!r}"
        for name in named
        if (value := getattr(policy, name)) != getattr(plain, name)
    ]
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return f"\n{lines}"


@comparators.dispatch_for("schema", qualifier="postgresql", **LAST)
def _compare(context: AutogenContext, upgrade: UpgradeOps, schemas: Iterable[str | None]) -> None:
    if context.connection is None:
        return
    looked_at = set(schemas)
    found = read_row_security(context.connection, looked_at)
    declared = _declared(context.metadata, looked_at)
    dropped = {(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, DropTableOp)}
    # A policy of a table that autogenerate was told to leave alone is left alone too.
    ours = dropped | {(table.schema, table.name) for table in context.sorted_tables}
    unchanged = _unchanged(context.connection, declared, found)
    upgrade.ops[:0] = _drops(declared, found, ours, unchanged)
    upgrade.ops.extend(_creations(declared, found, unchanged))


def _unchanged(
    connection: Connection, declared: RowSecurity, found: RowSecurity
) -> set[tuple[str | None, str, str]]:
    """The keys of policies that the database has as they are declared."""
    return {
        key
        for key, policy in found.policies.items()
        if key in declared.policies
        and (
            policy == declared.policies[key]
            or policy == as_stored(connection, declared.policies[key])
        )
    }


def _drops(
    declared: RowSecurity,
    found: RowSecurity,
    ours: set[TableKey],
    unchanged: set[tuple[str | None, str, str]],
) -> list[MigrateOperation]:
    policies: list[MigrateOperation] = [
        DropPolicyOp(policy)
        for key, policy in found.policies.items()
        if key[:2] in ours and key not in unchanged
    ]
    tables = [
        DisableRowSecurityOp(table, schema)
        for schema, table in sorted(found.tables & ours - declared.tables - found.kept, key=str)
    ]
    return [*policies, *tables]


def _creations(
    declared: RowSecurity, found: RowSecurity, unchanged: set[tuple[str | None, str, str]]
) -> list[MigrateOperation]:
    tables: list[MigrateOperation] = [
        EnableRowSecurityOp(table, schema)
        for schema, table in sorted(declared.tables - found.tables, key=str)
    ]
    policies = [
        CreatePolicyOp(policy) for key, policy in declared.policies.items() if key not in unchanged
    ]
    return [*tables, *policies]


def _declared(
    metadata: MetaData | Iterable[MetaData] | None, schemas: set[str | None]
) -> RowSecurity:
    every = [metadata] if isinstance(metadata, MetaData) else list(metadata or ())
    merged = RowSecurity()
    for one in every:
        security = row_security_of(one)
        merged.tables |= {key for key in security.tables if key[0] in schemas}
        merged.policies |= {
            key: policy for key, policy in security.policies.items() if key[0] in schemas
        }
    return merged
