"""The rows of one table, for one session: what a system's own repositories begin with.

    class Documents(Repository[Document]):
        model = Document

        def visible(self) -> Select[Document]:
            return super().visible().where(Document.session_id == self.reader)

Everything that is read goes through `visible`, so what it hides can be neither read nor changed.
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

    async def find(self, id: uuid.UUID, *, is_locked: bool = False) -> M | None:  # noqa: A002 - the column's name
        """The row, or None. `is_locked` holds it until the end of the transaction."""
        statement = self.visible().where(self._id() == id)
        if is_locked:
            # Read again under the lock: what the session has may be older than the wait for it.
            statement = statement.with_for_update(of=self.model).execution_options(
                populate_existing=True
            )
        return (await self.session.scalars(statement)).one_or_none()

    async def get(self, id: uuid.UUID, *, is_locked: bool = False) -> M:  # noqa: A002 - as above
        """The row. Raises `NotFoundError` when there is none, or none that is visible."""
        row = await self.find(id, is_locked=is_locked)
        if row is None:
            name = self.model.__name__
            raise NotFoundError(f"there is no {name} {id}", model=name, id=str(id))
        return row

    async def add(self, row: M) -> M:
        """Insert the row now. Raises `ConflictError` when a unique key is taken."""
        self.session.add(row)
        await self._flush()
        return row

    async def delete(self, row: M) -> None:
        """Delete the row now; the database's ON DELETE does the rest."""
        await self.session.delete(row)
        await self._flush()

    async def page(
        self,
        *conditions: ColumnElement[bool],
        cursor: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Page[M]:
        """The visible rows that meet the conditions, newest first. Raises `CursorError`."""
        statement = self.visible().where(*conditions)
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
