"""The glossary: terms whose translation a user has fixed."""

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import Timestamps, UUIDKey
from systems.pdf_translator.models.base import Base

if TYPE_CHECKING:
    from systems.pdf_translator.models.user import User

LONGEST_TERM = 200


class GlossaryEntry(UUIDKey, Timestamps, Base):
    """One term of one user, and what it is in one language."""

    __tablename__ = "glossary"
    __table_args__ = (
        UniqueConstraint("user_id", "term", "target_lang"),
        CheckConstraint("btrim(term) <> ''", name="term"),
        CheckConstraint("btrim(translation) <> ''", name="translation"),
    )

    # Its index is the unique constraint's.
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    term: Mapped[str] = mapped_column(String(LONGEST_TERM))
    translation: Mapped[str] = mapped_column(String(LONGEST_TERM))
    target_lang: Mapped[str] = mapped_column(String(10))

    user: Mapped["User"] = relationship(back_populates="glossary", lazy="raise")
