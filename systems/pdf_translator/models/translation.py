"""Translations: one PDF in one other language, until its files are gone."""

import uuid
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.files.stored_files import stored_files
from bedplate.rows.models import Timestamps, UUIDKey
from systems.pdf_translator.models.base import Base

if TYPE_CHECKING:
    from systems.pdf_translator.models.block import DocumentBlock
    from systems.pdf_translator.models.user import User

# How long the files of a translation are kept, from its upload on.
KEPT_FOR = timedelta(hours=24)


class TranslationStatus(StrEnum):
    """Where a translation stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    # Its files are gone, whatever had become of it.
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether nothing more is done for it; what is completed or failed still expires."""
        return self not in {TranslationStatus.PENDING, TranslationStatus.IN_PROGRESS}


class Translation(UUIDKey, Timestamps, Base):
    """An uploaded PDF, the language that it is wanted in, and what has become of it."""

    __tablename__ = "translations"
    __table_args__ = (
        CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'failed', 'expired')", name="status"
        ),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("page_count > 0", name="page_count"),
        CheckConstraint("file_size >= 0", name="file_size"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        # Null until it is done; what has expired keeps the name of what it had.
        CheckConstraint(
            "CASE status WHEN 'completed' THEN translated_path IS NOT NULL AND progress = 100"
            " WHEN 'expired' THEN true ELSE translated_path IS NULL END",
            name="translated_path",
        ),
        Index(None, "user_id", "created_at", "id"),
        Index(None, "status"),
        Index(None, "created_at"),
        # What the job that looks for the expired reads; the expired themselves are not in it.
        Index(None, "expires_at", postgresql_where=text("status <> 'expired'")),
        Index(None, "original_file_id", postgresql_where=text("original_file_id IS NOT NULL")),
        Index(None, "translated_file_id", postgresql_where=text("translated_file_id IS NOT NULL")),
    )

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(
        String(20), default=TranslationStatus.PENDING, server_default="pending"
    )
    progress: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    # Keys of the bucket, and the layer's rows of the same files, which the sweeper forgets in time.
    original_path: Mapped[str] = mapped_column(String(1024))
    translated_path: Mapped[str | None] = mapped_column(String(1024))
    original_file_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(stored_files.c.id, ondelete="SET NULL")
    )
    translated_file_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(stored_files.c.id, ondelete="SET NULL")
    )
    file_name: Mapped[str] = mapped_column(String(255))
    file_size: Mapped[int] = mapped_column(Integer)
    # Known once the job has read the file.
    page_count: Mapped[int | None] = mapped_column(Integer)
    source_language: Mapped[str] = mapped_column(String(10))
    target_language: Mapped[str] = mapped_column(String(10))
    # Which engine works, and what a reader must know about its results.
    engine: Mapped[str | None] = mapped_column(String(40))
    note: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    # Of the job that works on it. No foreign key: the layer forgets ended jobs before this row.
    job_id: Mapped[uuid.UUID | None]
    completed_at: Mapped[datetime | None]
    # When its files go.
    expires_at: Mapped[datetime] = mapped_column(
        server_default=text(f"now() + interval '{int(KEPT_FOR.total_seconds())} seconds'")
    )

    user: Mapped["User"] = relationship(back_populates="translations", lazy="raise")
    blocks: Mapped[list["DocumentBlock"]] = relationship(
        back_populates="translation",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="(DocumentBlock.page_num, DocumentBlock.block_num)",
    )
