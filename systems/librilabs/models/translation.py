"""Translations, and the chunks that their jobs have committed."""

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import Timestamps, UUIDKey
from systems.librilabs.models.base import Base, Owned, owner_is_present

if TYPE_CHECKING:
    from systems.librilabs.models.document import Document
    from systems.librilabs.models.user import User


class TranslationStatus(StrEnum):
    """Where a translation stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in {TranslationStatus.COMPLETED, TranslationStatus.FAILED}


class Translation(UUIDKey, Owned, Timestamps, Base):
    """One document in one other language."""

    __tablename__ = "translations"
    __table_args__ = (
        UniqueConstraint("document_id", "target_language", name="unique_document_target_language"),
        CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'failed')", name="status"
        ),
        CheckConstraint("progress_percentage BETWEEN 0 AND 100", name="progress_percentage"),
        owner_is_present(),
        Index(None, "user_id"),
        Index(None, "session_id"),
        Index(None, "status"),
        Index(None, "created_at"),
    )

    document_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    target_language: Mapped[str] = mapped_column(String(10))
    translated_content: Mapped[str | None] = mapped_column(
        Text, deferred=True, deferred_raiseload=True
    )
    status: Mapped[str] = mapped_column(
        String(20), default=TranslationStatus.PENDING, server_default="pending"
    )
    progress_percentage: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    # What the job says of itself; `state.py` gives it its form.
    translation_state: Mapped[dict[str, Any] | None]

    document: Mapped["Document"] = relationship(back_populates="translations", lazy="raise")
    user: Mapped["User | None"] = relationship(back_populates="translations", lazy="raise")
    chunks: Mapped[list["TranslationChunk"]] = relationship(
        back_populates="translation",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="TranslationChunk.index",
    )


class TranslationChunk(Base):
    """A part of the source that is translated and committed: never asked of the engine again.

    It names its source by where it stands in the document's text, in characters, so that an
    interrupted job goes on where the last chunk ends, even when the size of chunks has changed.
    """

    __tablename__ = "translation_chunks"
    __table_args__ = (
        CheckConstraint("index >= 0", name="index"),
        CheckConstraint("source_start >= 0 AND source_end > source_start", name="source"),
    )

    translation_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("translations.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    source_start: Mapped[int] = mapped_column(Integer)
    source_end: Mapped[int] = mapped_column(Integer)
    translated_text: Mapped[str] = mapped_column(Text)

    translation: Mapped["Translation"] = relationship(back_populates="chunks", lazy="raise")
