"""Row-level security of a system's tables: declared beside the models, enforced by the server.

    class Invoice(UUIDKey, TenantOwned, Base):
        __tablename__ = "invoices"
        tenant_column = "organization_id"

A transaction sees and writes the rows of its own tenant (`layer.transaction(tenant=…)`); without a
tenant it sees none. A declaration stands on the MetaData (`metadata.info`), as a table does.
Autogenerate compares it with the catalogue and writes the operations of `policy_operations.py`;
`create_all` makes it too. Not FORCEd: policies bind the serving role, never the schema's owner,
who migrates, seeds and dumps.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, Uuid, event

from bedplate.rows.triggers import literal_sql, quoted

INFO_KEY = "bedplate.policies"
# The transaction's tenant, set by `tenancy.py`. In a subquery: asked once, and not for each row.
CURRENT_TENANT = "SELECT nullif(current_setting('bedplate.tenant', true), '')"

Command = Literal["ALL", "SELECT", "INSERT", "UPDATE", "DELETE"]
TableKey = tuple[str | None, str]


@dataclass(frozen=True)
class Policy:
    """One policy of one table, for every role. Conditions are SQL, columns by their plain names.

    `using` says which rows are there to be read, changed and deleted, `check` which may be
    written; without `check` an ALL or UPDATE takes `using` for both. A row must pass one policy
    that is permissive, and all that are restrictive.
    """

    name: str
    table: str
    using: str | None = None
    check: str | None = None
    command: Command = "ALL"
    is_restrictive: bool = False
    schema: str | None = None

    @property
    def key(self) -> tuple[str | None, str, str]:
        """By what it is told from others."""
        return self.schema, self.table, self.name

    def create_sql(self) -> str:
        """CREATE POLICY."""
        lines = [f"CREATE POLICY {quoted(self.name)} ON {on(self.schema, self.table)}"]
        if self.is_restrictive:
            lines.append("AS RESTRICTIVE")
        if self.command != "ALL":
            lines.append(f"FOR {self.command}")
        if self.using is not None:
            lines.append(f"USING ({self.using})")
        if self.check is not None:
            lines.append(f"WITH CHECK ({self.check})")
        return "\n  ".join(lines)

    def drop_sql(self) -> str:
        """DROP POLICY."""
        return f"DROP POLICY {quoted(self.name)} ON {on(self.schema, self.table)}"


@dataclass
class RowSecurity:
    """What one MetaData declares, or one database has.

    `tables`: those under row-level security. `kept`: those of them with a policy that no
    declaration could say (for certain roles only).
    """

    policies: dict[tuple[str | None, str, str], Policy] = field(default_factory=dict)
    tables: set[TableKey] = field(default_factory=set)
    kept: set[TableKey] = field(default_factory=set)


class TenantOwned:
    """A mixin: each row belongs to the tenant in `tenant_column`, and only there is it seen.

    The column is a UUID, an integer or a text. Whatever finds a tenant's rows, unique keys and
    foreign keys among its tables should begin with it: they are checked past all policies.
    """

    tenant_column: ClassVar[str] = "tenant"

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        table = cls.__dict__.get("__table__")
        if table is not None:
            keep_to_tenant(table.c[cls.tenant_column])


def keep_to_tenant(column: "Column[Any]") -> None:
    """Declare that a row is seen and written by the tenant that `column` names, by nobody else.

    Raises `TypeError` where the column's type cannot be compared with a tenant's name.
    """
    condition = f"{quoted(column.name)} = ({CURRENT_TENANT}{_cast(column)})"
    table = column.table
    declare_policy(table.metadata, Policy("tenant", table.name, condition, schema=table.schema))


def declare_policy(metadata: MetaData, policy: Policy) -> None:
    """Make a policy part of the schema that `metadata` describes; its table comes under RLS."""
    security = row_security_of(metadata)
    security.policies[policy.key] = policy
    security.tables.add((policy.schema, policy.table))


def protect(table: Table) -> None:
    """Put a table under row-level security. Without a policy the serving role sees no row of it."""
    row_security_of(table.metadata).tables.add((table.schema, table.name))


def row_security_of(metadata: MetaData) -> RowSecurity:
    """What `metadata` declares so far; empty at first."""
    found: RowSecurity | None = metadata.info.get(INFO_KEY)
    if found is None:
        found = metadata.info[INFO_KEY] = RowSecurity()
        event.listen(metadata, "after_create", _create_all)
    return found


def on(schema: str | None, table: str) -> str:
    """A table as SQL names it."""
    return f"{quoted(schema)}.{quoted(table)}" if schema else quoted(table)


def switch_sql(schema: str | None, table: str, *, is_enabled: bool) -> str:
    """ALTER TABLE … ENABLE or DISABLE ROW LEVEL SECURITY."""
    verb = "ENABLE" if is_enabled else "DISABLE"
    return f"ALTER TABLE {on(schema, table)} {verb} ROW LEVEL SECURITY"


def _cast(column: "Column[Any]") -> str:
    """To the column's kind. Never to varchar(n), which would cut another tenant's name to fit."""
    if isinstance(column.type, Uuid):
        return "::uuid"
    if isinstance(column.type, BigInteger | Integer):
        return "::bigint"
    if isinstance(column.type, String):
        return ""
    raise TypeError(f"{column} names a tenant, and is neither a UUID nor an integer nor a text")


def _create_all(metadata: MetaData, connection: Connection, **options: Any) -> None:
    """What `create_all` does after the tables, for those tables that it has just made."""
    security = row_security_of(metadata)
    made = {(table.schema, table.name) for table in options.get("tables") or ()}
    for schema, table in security.tables & made:
        connection.execute(literal_sql(switch_sql(schema, table, is_enabled=True)))
    for policy in security.policies.values():
        if (policy.schema, policy.table) in made:
            connection.execute(literal_sql(policy.create_sql()))
