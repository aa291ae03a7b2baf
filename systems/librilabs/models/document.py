"""Documents, and the passages that the search runs on.

A document's text never changes after its upload: passages are cut from it once, and translation
chunks name their source by where it stands in the text.
"""

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.dialects.postgresql import REGCONFIG, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.files.stored_files import stored_files
from bedplate.rows.models import Timestamps, UUIDKey
from systems.librilabs.models.base import Base, Owned, owner_is_present

if TYPE_CHECKING:
    from systems.librilabs.models.translation import Translation
    from systems.librilabs.models.user import User

MAX_FILE_BYTES = 10_485_760


class Document(UUIDKey, Owned, Timestamps, Base):
    """An uploaded text."""

    __tablename__ = "documents"
    __table_args__ = (
        CheckConstraint(f"file_size BETWEEN 0 AND {MAX_FILE_BYTES}", name="file_size"),
        owner_is_present(),
        Index(None, "user_id", "created_at", "id"),
        Index(None, "session_id", "created_at", "id"),
        Index(None, "created_at"),
        Index(None, "original_file_id", postgresql_where=text("original_file_id IS NOT NULL")),
    )

    # Up to 10 MB: only who asks for it by name gets it.
    content: Mapped[str] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    file_name: Mapped[str] = mapped_column(String(255))
    file_size: Mapped[int] = mapped_column(Integer)
    source_language: Mapped[str] = mapped_column(String(10))
    # The bytes as they came. The row of a deleted file is forgotten in the end; never before the
    # document's, which goes in the transaction that deletes the file.
    original_file_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(stored_files.c.id, ondelete="SET NULL"), sort_order=90
    )

    user: Mapped["User | None"] = relationship(back_populates="documents", lazy="raise")
    passages: Mapped[list["DocumentPassage"]] = relationship(
        back_populates="document",
        lazy="raise",
        cascade="all, delete-orphan",
        passive_deletes=True,
        order_by="DocumentPassage.index",
    )
    translations: Mapped[list["Translation"]] = relationship(
        back_populates="document", lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )


class DocumentPassage(Base):
    """At most 8 kB of a document, cut at paragraphs.

    A tsvector's positions stop at 16,383, so one for a whole novel ranks and finds phrases only
    in its beginning, and one for 10 MB of varied words is refused.
    """

    __tablename__ = "document_passages"
    __table_args__ = (
        CheckConstraint("index >= 0", name="index"),
        CheckConstraint("octet_length(text) <= 8192", name="text_size"),
        # A list of pending entries would make the planner read every passage instead.
        Index(None, "tsv", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        # The search asks which configurations there are, one step along this index for each.
        Index(None, "config"),
    )

    document_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)
    config: Mapped[str] = mapped_column(REGCONFIG)
    tsv: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector(config, text)", persisted=True),
        deferred=True,
        deferred_raiseload=True,
    )

    document: Mapped["Document"] = relationship(back_populates="passages", lazy="raise")
