"""The blocks of a PDF: what is translated as one, and where it stands."""

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, Integer, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import UUIDKey
from systems.pdf_translator.models.base import Base

if TYPE_CHECKING:
    from systems.pdf_translator.models.translation import Translation


class DocumentBlock(UUIDKey, Base):
    """A paragraph, a heading, a cell, of one page. Pages and blocks are counted from 1."""

    __tablename__ = "document_blocks"
    __table_args__ = (
        UniqueConstraint("translation_id", "page_num", "block_num"),
        CheckConstraint("page_num >= 1", name="page_num"),
        CheckConstraint("block_num >= 1", name="block_num"),
        CheckConstraint("jsonb_typeof(coordinates) = 'object'", name="coordinates"),
    )

    # Its index is the unique constraint's.
    translation_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("translations.id", ondelete="CASCADE")
    )
    page_num: Mapped[int] = mapped_column(Integer)
    block_num: Mapped[int] = mapped_column(Integer)
    original_text: Mapped[str] = mapped_column(Text)
    translated_text: Mapped[str | None] = mapped_column(Text)
    # In points from the top left corner of the page: left, top, right, bottom, font_size.
    coordinates: Mapped[dict[str, Any]]

    translation: Mapped["Translation"] = relationship(back_populates="blocks", lazy="raise")
