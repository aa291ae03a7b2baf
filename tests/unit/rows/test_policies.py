"""Declarations of row-level security, and the text of the revisions made of them."""

import uuid
from typing import Any

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations.ops import UpgradeOps
from sqlalchemy import Column, Date, Integer, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped

from bedplate.rows.models import Model, UUIDKey, new_metadata
from bedplate.rows.policies import (
    Policy,
    TenantOwned,
    keep_to_tenant,
    protect,
    row_security_of,
)
from bedplate.rows.policy_operations import (
    CreatePolicyOp,
    DisableRowSecurityOp,
    DropPolicyOp,
    EnableRowSecurityOp,
)

POLICY = Policy("tenant", "things", "owner = 'a:b'")


class Base(Model, DeclarativeBase):
    """The base of this file's models."""

    metadata = new_metadata()


class Thing(UUIDKey, TenantOwned, Base):
    """A model whose rows belong to a tenant."""

    __tablename__ = "things"
    tenant_column = "organization_id"
    organization_id: Mapped[uuid.UUID]


class Plain(UUIDKey, Base):
    """A model without."""

    __tablename__ = "plain"


def test_a_model_of_a_tenant_declares_its_policy() -> None:
    """Nobody has to remember it: the mixin brings it, and the table is named nowhere else."""
    security = row_security_of(Base.metadata)
    assert security.tables == {(None, "things")}
    ((key, policy),) = security.policies.items()
    assert key == (None, "things", "tenant")
    assert policy.using == (
        "\"organization_id\" = (SELECT nullif(current_setting('bedplate.tenant', true), '')::uuid)"
    )
    assert (policy.check, policy.command, policy.is_restrictive) == (None, "ALL", False)


@pytest.mark.parametrize(
    ("kind", "ends"), [(String(3), ", '')"), (String(), ", '')"), (Integer(), "::bigint")]
)
def test_a_tenants_name_is_never_cut_to_fit_its_column(kind: Any, ends: str) -> None:
    """A cast to varchar(3) would make a tenant `acme` see what belongs to `acm`."""
    table = Table("things", MetaData(), Column("tenant", kind))
    keep_to_tenant(table.c.tenant)
    (policy,) = row_security_of(table.metadata).policies.values()
    assert policy.using is not None
    assert policy.using.endswith(f"{ends})")


def test_a_column_that_is_no_name_is_refused() -> None:
    """Better when the module is imported than when the first row is read."""
    table = Table("things", MetaData(), Column("tenant", Date()))
    with pytest.raises(TypeError, match="neither a UUID nor an integer nor a text"):
        keep_to_tenant(table.c.tenant)


def test_a_table_can_be_closed_without_a_policy() -> None:
    """What only the owner reads, such as secrets that a function of the owner's looks up."""
    table = Table("secrets", MetaData(), Column("id", Integer))
    protect(table)
    assert row_security_of(table.metadata).tables == {(None, "secrets")}


def test_names_are_quoted_and_every_part_is_said() -> None:
    """A name may contain any character; a policy that loses its AS RESTRICTIVE opens a table."""
    whole = Policy('a"b', "Order", "x", "y", "UPDATE", is_restrictive=True, schema="s")
    assert whole.create_sql().split("\n  ") == [
        'CREATE POLICY "a""b" ON "s"."Order"',
        "AS RESTRICTIVE",
        "FOR UPDATE",
        "USING (x)",
        "WITH CHECK (y)",
    ]
    assert whole.drop_sql() == 'DROP POLICY "a""b" ON "s"."Order"'


@pytest.mark.parametrize(
    "operation",
    [
        CreatePolicyOp(POLICY),
        CreatePolicyOp(Policy("p", "t", None, "true", "INSERT", is_restrictive=True)),
        DropPolicyOp(Policy("p", "t", "x = E'\\n\"'", schema="other")),
        EnableRowSecurityOp("things"),
        DisableRowSecurityOp("things", "other"),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_a_rendered_operation_is_the_operation_again(operation: Any) -> None:
    """What autogenerate writes into a file must do, when run, what it found."""
    code = render_python_code(UpgradeOps([operation]))
    recorder = Recorder()
    exec(f"if True:\n    {code}", {"op": recorder})  # noqa: S102 - as Alembic runs a revision
    assert [_content(made) for made in recorder.operations] == [_content(operation)]


@pytest.mark.parametrize("operation", [CreatePolicyOp(POLICY), EnableRowSecurityOp("t", "s")])
def test_each_operation_is_its_reverse_reversed(operation: Any) -> None:
    """A downgrade is the upgrade read backwards."""
    assert type(operation.reverse()) is not type(operation)
    assert _content(operation.reverse().reverse()) == _content(operation)


class Recorder:
    """Stands for `op` in a revision: notes the operations and runs none."""

    def __init__(self) -> None:
        self.operations: list[Any] = []

    def invoke(self, operation: Any) -> None:
        """What an operation calls to be run."""
        self.operations.append(operation)

    def __getattr__(self, name: str) -> Any:
        kinds: tuple[Any, ...] = (
            CreatePolicyOp,
            DropPolicyOp,
            EnableRowSecurityOp,
            DisableRowSecurityOp,
        )
        called = next(getattr(kind, name) for kind in kinds if hasattr(kind, name))
        return lambda *args, **options: called(self, *args, **options)


def _content(operation: Any) -> tuple[type, dict[str, Any]]:
    return type(operation), vars(operation)
