"""A small library: the models that the tests of rows work on."""

import uuid

from sqlalchemy import Computed, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import REGCONFIG, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bedplate.rows.models import Model, Timestamps, UUIDKey, new_metadata
from bedplate.rows.repository import Repository
from bedplate.rows.search import Passages


class Base(Model, DeclarativeBase):
    """The base of the library's models."""

    metadata = new_metadata()


class Book(UUIDKey, Timestamps, Base):
    """A book."""

    __tablename__ = "books"
    __table_args__ = (UniqueConstraint("title"),)

    title: Mapped[str] = mapped_column(String(255))
    shelf: Mapped[str] = mapped_column(String(20), default="a")


class Passage(Base):
    """A part of a book's text."""

    __tablename__ = "passages"
    __table_args__ = (
        Index(
            "ix_passages_vector",
            "vector",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    book_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("books.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[str]
    configuration: Mapped[str] = mapped_column(REGCONFIG, index=True)
    vector: Mapped[str] = mapped_column(
        TSVECTOR, Computed("to_tsvector(configuration, content)", persisted=True)
    )


class Books(Repository[Book]):
    """All books."""

    model = Book


COLUMNS = Passage.__table__.c
PASSAGES = Passages(
    document=COLUMNS.book_id,
    position=COLUMNS.position,
    content=COLUMNS.content,
    configuration=COLUMNS.configuration,
    vector=COLUMNS.vector,
)
