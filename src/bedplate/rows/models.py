"""What every model of a system has: names of constraints, types, ids, timestamps.

    class Base(Model, DeclarativeBase):
        metadata = new_metadata()

    class Document(UUIDKey, Timestamps, Base):
        __tablename__ = "documents"

One `Base` with a MetaData of its own for each system: two systems may both have a table `users`.
"""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import DateTime, FetchedValue, MetaData, Uuid, func, inspect, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from bedplate.rows.ids import new_id
from bedplate.rows.triggers import keep_updated_at

# Every constraint has a name that follows from what it is, so that migrations can drop it.
NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


def new_metadata() -> MetaData:
    """A MetaData with the naming convention."""
    return MetaData(naming_convention=NAMING_CONVENTION)


class Model:
    """Base of a system's declarative base: how Python types are stored, and a short repr."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        uuid.UUID: Uuid(),
    }

    def __repr__(self) -> str:
        """Class and primary key. No other column: it may be 10 MB, or somebody's secret."""
        state = inspect(self)
        key = ", ".join(map(str, state.identity)) if state.identity else "not flushed"
        return f"<{type(self).__name__} {key}>"


class UUIDKey:
    """A primary key `id`: a UUIDv7 made here, a random one where SQL inserts without an id."""

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True,
        default=new_id,
        # Not uuidv7(), which PostgreSQL has from 18 on.
        server_default=text("gen_random_uuid()"),
        sort_order=-10,
    )


class Timestamps:
    """`created_at` and `updated_at`, kept by the database; a trigger moves the second."""

    # An UPDATE brings the trigger's value back with it: read later, outside a statement, it would
    # be an implicit query, which asynchronous code must not make (MissingGreenlet).
    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), server_onupdate=FetchedValue(), sort_order=91
    )

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        table = cls.__dict__.get("__table__")
        if table is not None:
            keep_updated_at(table)
