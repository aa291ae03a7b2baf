"""The tables of the sample system, as its revisions leave them."""

from sqlalchemy import Index, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bedplate.rows.models import Model, new_metadata


class Base(Model, DeclarativeBase):
    """The sample system's own MetaData."""

    metadata = new_metadata()


class Book(Base):
    """One book."""

    __tablename__ = "books"
    __table_args__ = (Index("ix_books_title", "title"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200), server_default=text("''"))
