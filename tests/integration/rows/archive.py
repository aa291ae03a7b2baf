"""An archive: models that are deleted softly, for the tests of that."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from bedplate.rows.models import Model, Timestamps, UUIDKey, new_metadata
from bedplate.rows.repository import Repository
from bedplate.rows.soft_delete import SoftDelete, unique_while_present


class Base(Model, DeclarativeBase):
    """The base of the archive's models."""

    metadata = new_metadata()


class Box(UUIDKey, Timestamps, SoftDelete, Base):
    """A box of letters."""

    __tablename__ = "boxes"
    __table_args__ = (unique_while_present("label"),)

    label: Mapped[str]

    letters: Mapped[list["Letter"]] = relationship(back_populates="box", order_by="Letter.text")
    notes: Mapped[list["Note"]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class Letter(UUIDKey, Timestamps, SoftDelete, Base):
    """A letter, deleted and restored with its box."""

    __tablename__ = "letters"
    __deleted_with__ = "box_id"

    box_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    text: Mapped[str]

    box: Mapped["Box"] = relationship(back_populates="letters")
    stamps: Mapped[list["Stamp"]] = relationship(back_populates="letter")


class Stamp(UUIDKey, SoftDelete, Base):
    """A stamp on a letter, deleted and restored with it."""

    __tablename__ = "stamps"
    __deleted_with__ = "letter_id"

    letter_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("letters.id", ondelete="CASCADE"))
    pence: Mapped[int]

    letter: Mapped["Letter"] = relationship(back_populates="stamps")


class Note(UUIDKey, Base):
    """A note about a box: not deleted softly itself."""

    __tablename__ = "notes"

    box_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    text: Mapped[str]
    read_at: Mapped[datetime | None]


class Boxes(Repository[Box]):
    """All boxes."""

    model = Box


class Letters(Repository[Letter]):
    """All letters."""

    model = Letter
