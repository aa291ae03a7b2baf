"""Signed-in readers. The sign-in itself comes with the layer's accounts."""

from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import Timestamps, UUIDKey
from systems.librilabs.models.base import Base

if TYPE_CHECKING:
    from systems.librilabs.models.document import Document
    from systems.librilabs.models.translation import Translation


class User(UUIDKey, Timestamps, Base):
    """A reader with an account."""

    __tablename__ = "users"

    email: Mapped[str] = mapped_column(String(255), unique=True)

    documents: Mapped[list["Document"]] = relationship(
        back_populates="user", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    translations: Mapped[list["Translation"]] = relationship(
        back_populates="user", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
