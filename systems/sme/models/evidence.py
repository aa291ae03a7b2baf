"""Evidence, and the passages of it that are searched.

What a piece of evidence says is in its file, which never changes; its passages are cut from that
once. Both are deleted, restored and purged together.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, REGCONFIG, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.files.stored_files import stored_files
from bedplate.rows.soft_delete import unique_while_present
from bedplate.rows.vectors import Vector, hnsw_index
from systems.sme.models.base import Base

MAX_TITLE = 500
MAX_SOURCE = 255
# One of an embedder with other dimensions needs a column of its own, and an index on it.
DIMENSIONS = 384


class EvidenceStatus(StrEnum):
    """Where a piece of evidence stands: `ready` when all its passages can be found by meaning."""

    PENDING = "pending"
    INGESTING = "ingesting"
    READY = "ready"
    FAILED = "failed"


class Evidence(Base):
    """A text or a PDF, as it was added."""

    __tablename__ = "evidence"
    __table_args__ = (
        # The same content is not stored twice; once it is deleted it may be added again.
        unique_while_present("content_hash", name="uq_evidence_content_hash"),
        CheckConstraint("octet_length(content_hash) = 32", name="content_hash"),
        CheckConstraint("size_bytes >= 0", name="size_bytes"),
        CheckConstraint("status IN ('pending', 'ingesting', 'ready', 'failed')", name="status"),
        CheckConstraint("passage_count >= 0", name="passage_count"),
        Index(None, "created_at", "id"),
        Index(None, "source"),
        Index(None, "tags", postgresql_using="gin"),
        Index(None, "observed_at"),
        Index(None, "file_id", postgresql_where=text("file_id IS NOT NULL")),
    )

    title: Mapped[str] = mapped_column(String(MAX_TITLE))
    source: Mapped[str | None] = mapped_column(String(MAX_SOURCE))
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default=text("'{}'"))
    # When what it tells was seen, where that is known; `created_at` is when it was added.
    observed_at: Mapped[datetime | None]
    # What else is known of it: a PDF's author, a page's address.
    details: Mapped[dict[str, Any]] = mapped_column(
        "metadata", default=dict, server_default=text("'{}'")
    )
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int] = mapped_column(Integer)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    # The row of a purged file is forgotten in the end; never before the evidence's own.
    file_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(stored_files.c.id, ondelete="SET NULL")
    )
    status: Mapped[str] = mapped_column(
        String(20), default=EvidenceStatus.PENDING, server_default="pending"
    )
    # Known once it is cut, which is one transaction.
    passage_count: Mapped[int | None] = mapped_column(Integer)
    # Which model has embedded all of it; null until one has.
    embedding_model: Mapped[str | None] = mapped_column(String(100))
    job_id: Mapped[uuid.UUID | None]
    error: Mapped[str | None] = mapped_column(Text)

    passages: Mapped[list["Passage"]] = relationship(
        back_populates="evidence",
        lazy="raise",
        passive_deletes=True,
        order_by="Passage.position",
    )


class Passage(Base):
    """Some sentences of a piece of evidence, short enough for the embedder to read to their end.

    `embedding` is null until a job has made it; the model that made it stands beside it, for
    vectors of two models have nothing to do with each other.
    """

    __tablename__ = "passages"
    __deleted_with__ = "evidence_id"
    __table_args__ = (
        Index("uq_passages_evidence_id_position", "evidence_id", "position", unique=True),
        CheckConstraint("position >= 0", name="position"),
        CheckConstraint("page > 0", name="page"),
        CheckConstraint('start >= 0 AND "end" > start', name="place"),
        CheckConstraint("(embedding IS NULL) = (embedding_model IS NULL)", name="embedding_model"),
        hnsw_index("ix_passages_embedding", "embedding", DIMENSIONS, where="deleted_at IS NULL"),
        # A list of pending entries would make the planner read every passage instead.
        Index(None, "tsv", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        # The search asks which configurations there are, one step along this index for each.
        Index(None, "config"),
    )

    evidence_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"))
    # Which one it is, from 0, and where it stands in its evidence's text, in characters; `page`,
    # from 1, in a PDF.
    position: Mapped[int] = mapped_column(Integer)
    page: Mapped[int | None] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(Integer)
    end: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    config: Mapped[str] = mapped_column(REGCONFIG)
    tsv: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector(config, text)", persisted=True),
        deferred=True,
        deferred_raiseload=True,
    )
    embedding: Mapped[list[float] | None] = mapped_column(
        Vector(DIMENSIONS), deferred=True, deferred_raiseload=True
    )
    embedding_model: Mapped[str | None] = mapped_column(String(100))
    embedding_dimensions: Mapped[int | None] = mapped_column(
        Integer, Computed("vector_dims(embedding)", persisted=True)
    )

    evidence: Mapped["Evidence"] = relationship(back_populates="passages", lazy="raise")
