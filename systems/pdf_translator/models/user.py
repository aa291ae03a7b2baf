"""Who signs in with Google."""

from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import Timestamps, UUIDKey
from systems.pdf_translator.models.base import Base

if TYPE_CHECKING:
    from systems.pdf_translator.models.glossary import GlossaryEntry
    from systems.pdf_translator.models.translation import Translation


class User(UUIDKey, Timestamps, Base):
    """A person, known by Google's number for them: addresses and names change, that does not."""

    __tablename__ = "users"

    # The `sub` of Google's issuer: at most 255 characters, says OpenID Connect.
    google_id: Mapped[str] = mapped_column(String(255), unique=True)
    # In lower case: it is one address, however it is typed.
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(255))

    translations: Mapped[list["Translation"]] = relationship(
        back_populates="user", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
    glossary: Mapped[list["GlossaryEntry"]] = relationship(
        back_populates="user", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )
