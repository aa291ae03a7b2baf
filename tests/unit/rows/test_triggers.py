"""Declarations of functions and triggers, and the text of the revisions made of them."""

from typing import Any

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations.ops import UpgradeOps
from sqlalchemy.orm import DeclarativeBase, Mapped

from bedplate.rows.models import Model, Timestamps, UUIDKey, new_metadata
from bedplate.rows.trigger_operations import (
    CreateFunctionOp,
    CreateTriggerOp,
    DropFunctionOp,
    DropTriggerOp,
)
from bedplate.rows.triggers import (
    UPDATED_AT_FUNCTION,
    Function,
    Trigger,
    dollar_quoted,
    programs_of,
)

FUNCTION = Function("touch", "BEGIN\n    NEW.n = 1;\n    RETURN NEW;\nEND;")
TRIGGER = Trigger("touched", "things", "touch")


class Base(Model, DeclarativeBase):
    """The base of this file's models."""

    metadata = new_metadata()


class Thing(UUIDKey, Timestamps, Base):
    """A model with timestamps."""

    __tablename__ = "things"
    name: Mapped[str]


class Plain(UUIDKey, Base):
    """A model without."""

    __tablename__ = "plain"


def test_a_model_with_timestamps_declares_the_trigger_that_keeps_them() -> None:
    """Nobody has to remember the trigger: the mixin brings it."""
    programs = programs_of(Base.metadata)
    assert list(programs.functions.values()) == [UPDATED_AT_FUNCTION]
    assert list(programs.triggers.values()) == [
        Trigger("things_updated_at", "things", "update_updated_at_column")
    ]


def test_the_indentation_of_a_body_does_not_make_another_function() -> None:
    """A generated revision indents it; the catalogue keeps what was created."""
    indented = (
        "\n        BEGIN\n            NEW.n = 1;\n            RETURN NEW;\n        END;\n    "
    )
    assert Function("touch", indented) == FUNCTION


def test_events_are_held_in_the_catalogues_order() -> None:
    """Else a trigger declared as UPDATE OR INSERT would be found changed for ever."""
    declared = Trigger("t", "things", "touch", "BEFORE  UPDATE OF a, b OR INSERT")
    assert declared.event == "BEFORE INSERT OR UPDATE OF a, b"


def test_names_and_bodies_are_quoted() -> None:
    """A body may contain any marker, and a name any character."""
    assert dollar_quoted("x $body$ y") == "$body_$\nx $body$ y\n$body_$"
    sql = Trigger('a"b', "Order", "touch", schema="s").create_sql()
    assert sql == (
        'CREATE TRIGGER "a""b" BEFORE UPDATE ON "s"."Order" FOR EACH ROW EXECUTE FUNCTION "touch"()'
    )


@pytest.mark.parametrize(
    "operation",
    [
        CreateFunctionOp(FUNCTION),
        CreateFunctionOp(FUNCTION, replaces=Function("touch", "BEGIN RETURN OLD; END;")),
        CreateFunctionOp(Function("odd", 'BEGIN RAISE NOTICE E\'\\n"""\'; RETURN NEW; END;')),
        DropFunctionOp(FUNCTION),
        CreateTriggerOp(TRIGGER),
        DropTriggerOp(Trigger("t", "things", "touch", "AFTER DELETE", "other")),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_a_rendered_operation_is_the_operation_again(operation: Any) -> None:
    """What autogenerate writes into a file must do, when run, what it found."""
    code = render_python_code(UpgradeOps([operation]))
    recorder = Recorder()
    exec(f"if True:\n    {code}", {"op": recorder})  # noqa: S102 - as Alembic runs a revision
    assert [_content(made) for made in recorder.operations] == [_content(operation)]


def test_each_operation_is_its_reverse_reversed() -> None:
    """A downgrade is the upgrade read backwards."""
    replaced = CreateFunctionOp(FUNCTION, replaces=Function("touch", "BEGIN RETURN OLD; END;"))
    for operation in (replaced, CreateFunctionOp(FUNCTION), CreateTriggerOp(TRIGGER)):
        assert _content(operation.reverse().reverse()) == _content(operation)
    assert isinstance(CreateFunctionOp(FUNCTION).reverse(), DropFunctionOp)
    assert isinstance(CreateTriggerOp(TRIGGER).reverse(), DropTriggerOp)


class Recorder:
    """Stands for `op` in a revision: notes the operations and runs none."""

    def __init__(self) -> None:
        self.operations: list[Any] = []

    def invoke(self, operation: Any) -> None:
        """What an operation calls to be run."""
        self.operations.append(operation)

    def create_function(self, *args: Any, **options: Any) -> None:
        """As Alembic's proxy."""
        CreateFunctionOp.create_function(self, *args, **options)  # type: ignore[arg-type] # a stand-in

    def drop_function(self, *args: Any, **options: Any) -> None:
        """As Alembic's proxy."""
        DropFunctionOp.drop_function(self, *args, **options)  # type: ignore[arg-type] # a stand-in

    def create_trigger(self, *args: Any, **options: Any) -> None:
        """As Alembic's proxy."""
        CreateTriggerOp.create_trigger(self, *args, **options)  # type: ignore[arg-type] # a stand-in

    def drop_trigger(self, *args: Any, **options: Any) -> None:
        """As Alembic's proxy."""
        DropTriggerOp.drop_trigger(self, *args, **options)  # type: ignore[arg-type] # a stand-in


def _content(operation: Any) -> tuple[type, dict[str, Any]]:
    return type(operation), vars(operation)
