"""Soft delete: a deleted row keeps its place, is seen by nobody who does not ask, and can return.

    class Evidence(UUIDKey, Timestamps, SoftDelete, Base):
        __table_args__ = (unique_while_present("content_hash"),)

    class Passage(UUIDKey, Timestamps, SoftDelete, Base):
        __deleted_with__ = "evidence_id"

`session.delete(row)` and `delete(Evidence)` set `deleted_at`; every statement of a session is
shown present rows alone, by relationships, joins, counts and subqueries, too, and changes no other
(`present_rows.py`). Who wants the others says `.execution_options(include_deleted=True)`.
`Repository.restore` brings a row back, `purge` removes for good. The database refuses a DELETE of a
present row whoever sends it, and carries a deletion on to what `__deleted_with__` names.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar, cast

from sqlalchemy import ColumnElement, Index, Row, delete, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from bedplate.rows.present_rows import INCLUDE_DELETED, PURGE, watch
from bedplate.rows.soft_delete_triggers import declare_cascade, declare_refusal

Returned = ColumnElement[Any] | InstrumentedAttribute[Any]


class SoftDelete:
    """A row that is deleted by its `deleted_at`.

    `__deleted_with__` names the foreign key to the row that takes this one with it: deleted with
    it, restored with it, and deleted from the first when it is made under a deleted one.
    """

    __deleted_with__: ClassVar[str | None] = None
    # What triggers write comes back with the statement: see `Timestamps`.
    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}

    deleted_at: Mapped[datetime | None] = mapped_column(sort_order=92)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        table = cls.__dict__.get("__table__")
        if table is None:
            return
        # For the purge: few rows are in it.
        Index(None, table.c.deleted_at, postgresql_where=table.c.deleted_at.is_not(None))
        declare_refusal(table)
        if cls.__deleted_with__ is not None:
            declare_cascade(table, cls.__deleted_with__)
        watch(SoftDelete, table)

    @property
    def is_deleted(self) -> bool:
        """Whether it is deleted, as far as its session knows."""
        return self.deleted_at is not None


S = TypeVar("S", bound=SoftDelete)


def unique_while_present(*columns: str, name: str | None = None) -> Index:
    """A unique key that a deleted row does not hold: it can be used again."""
    return Index(name, *columns, unique=True, postgresql_where=text("deleted_at IS NULL"))


async def purge(
    session: AsyncSession,
    model: type[S],
    retention: timedelta,
    *conditions: ColumnElement[bool],
    returning: Sequence[Returned] = (),
    limit: int = 1000,
) -> Sequence[Row[Any]]:
    """Remove for good at most `limit` rows that were deleted longer ago than `retention`.

    What hangs on them goes by ON DELETE. Answers `returning` (default: the primary key) of each:
    the caller deletes their files in the same transaction. Rows that others hold are left for the
    next time.
    """
    key = inspect(model).primary_key
    deleted_at = cast("InstrumentedAttribute[Any]", model.deleted_at)
    due = (
        select(*key)
        .select_from(model)
        .where(deleted_at < func.now() - retention, *conditions)
        .order_by(deleted_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=model)
        .cte("due")
        # Else the planner may run it again for each row, and take more than the limit.
        .prefix_with("MATERIALIZED")
    )
    statement = (
        delete(model)
        .where(*(column == due.c[column.key] for column in key))
        .returning(*(returning or key))
        .execution_options(synchronize_session=False, **{INCLUDE_DELETED: True, PURGE: True})
    )
    return (await session.execute(statement)).all()
