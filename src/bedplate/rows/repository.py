"""The rows of one table, for one session: what a system's own repositories begin with.

    class Documents(Repository[Document]):
        model = Document

        def visible(self) -> Select[Document]:
            return super().visible().where(Document.session_id == self.reader)

Everything that is read goes through `visible`, so what it hides can be neither read nor changed.
Rows that are deleted softly are hidden unless `include_deleted` is said.
Nothing here commits; no relationship is loaded but by an option in `visible`.
"""

import uuid
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import ColumnElement, Select, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from bedplate.errors import ConflictError, NotFoundError
from bedplate.rows.pagination import DEFAULT_LIMIT, Page, fetch_page
from bedplate.rows.present_rows import INCLUDE_DELETED
from bedplate.rows.soft_delete import SoftDelete

M = TypeVar("M")

_UNIQUE_VIOLATION = "23505"


class Repository(Generic[M]):
    """Reads and writes the rows of `model` that this session may see."""

    model: type[M]

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    def visible(self) -> Select[M]:
        """The rows that this repository shows. Narrow it in a subclass."""
        return select(self.model)

    async def find(
        self,
        id: uuid.UUID,  # noqa: A002 - the column's name
        *,
        is_locked: bool = False,
        include_deleted: bool = False,
    ) -> M | None:
        """The row, or None. `is_locked` holds it until the end of the transaction."""
        statement = (
            self.visible()
            .where(self._id() == id)
            .execution_options(**{INCLUDE_DELETED: include_deleted})
        )
        if is_locked:
            # Read again under the lock: what the session has may be older than the wait for it.
            statement = statement.with_for_update(of=self.model).execution_options(
                populate_existing=True
            )
        return (await self.session.scalars(statement)).one_or_none()

    async def get(
        self,
        id: uuid.UUID,  # noqa: A002 - as above
        *,
        is_locked: bool = False,
        include_deleted: bool = False,
    ) -> M:
        """The row. Raises `NotFoundError` when there is none, or none that is visible."""
        row = await self.find(id, is_locked=is_locked, include_deleted=include_deleted)
        if row is None:
            name = self.model.__name__
            raise NotFoundError(f"there is no {name} {id}", model=name, id=str(id))
        return row

    async def add(self, row: M) -> M:
        """Insert the row now. Raises `ConflictError` when a unique key is taken."""
        self.session.add(row)
        await self._flush()
        return row

    async def change(self, row: M, **values: Any) -> M:
        """Set these columns now. Raises `ConflictError` when a unique key is taken."""
        for name, value in values.items():
            setattr(row, name, value)
        await self._flush()
        return row

    async def delete(self, row: M) -> None:
        """Delete the row now; the database's ON DELETE does the rest.

        A model with `SoftDelete` keeps the row, and its triggers do the rest.
        """
        await self.session.delete(row)
        await self._flush()

    async def restore(self, row: M) -> M:
        """Bring a softly deleted row back, with all that was deleted with it.

        A row that is present stays as it is. Raises `ConflictError` when a unique key of it is
        taken meanwhile, or when it was deleted with another row, which is to be restored.
        """
        if not isinstance(row, SoftDelete):
            raise TypeError(f"{type(row).__name__} is not deleted softly")
        row.deleted_at = None
        await self._flush()
        # A trigger may have set it again.
        await self.session.refresh(row, ["deleted_at"])
        if row.is_deleted:
            raise ConflictError(
                f"{self.model.__name__} {row} was deleted with the row that it belongs to",
                hint="Restore that one: it brings back what was deleted with it.",
            )
        return cast("M", row)

    async def page(
        self,
        *conditions: ColumnElement[bool],
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
        include_deleted: bool = False,
    ) -> Page[M]:
        """The visible rows that meet the conditions, newest first. Raises `CursorError`."""
        statement = (
            self.visible()
            .where(*conditions)
            .execution_options(**{INCLUDE_DELETED: include_deleted})
        )
        created_at = cast("InstrumentedAttribute[Any]", self.model.created_at)  # type: ignore[attr-defined] # from Timestamps
        return await fetch_page(
            self.session,
            statement,
            (created_at, self._id()),
            scope=self._scope(statement),
            cursor=cursor,
            limit=limit,
        )

    def _scope(self, statement: Select[M]) -> tuple[object, ...]:
        """What a cursor is bound to: the table, the conditions and the values in them."""
        name = self.model.__name__
        if statement.whereclause is None:
            return (name,)
        compiled = statement.whereclause.compile(dialect=self.session.get_bind().dialect)
        return (name, str(compiled), sorted(compiled.params.items()))

    async def _flush(self) -> None:
        try:
            await self.session.flush()
        except IntegrityError as error:
            cause = getattr(error.orig, "__cause__", None)
            if getattr(error.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
                raise
            constraint = getattr(cause, "constraint_name", None)
            raise ConflictError(
                f"such a {self.model.__name__} exists already ({constraint})",
                constraint=constraint,
            ) from error

    def _id(self) -> InstrumentedAttribute[Any]:
        key = inspect(self.model).primary_key[0]
        return cast("InstrumentedAttribute[Any]", getattr(self.model, key.key))
