"""A table with a vector column: what the tests of vectors and of search by meaning work on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Computed, Index
from sqlalchemy.dialects.postgresql import REGCONFIG, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bedplate.rows.models import Model, new_metadata
from bedplate.rows.vectors import Vector, hnsw_index

DIMENSIONS = 24


class Base(Model, DeclarativeBase):
    """The base of the archive's models."""

    metadata = new_metadata()


class Note(Base):
    """A text, where its vector points, and whose it is."""

    __tablename__ = "notes"
    __table_args__ = (
        hnsw_index("ix_notes_embedding", "embedding", DIMENSIONS),
        Index(None, "words", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[int] = mapped_column(index=True, default=0)
    content: Mapped[str] = mapped_column(default="")
    configuration: Mapped[str] = mapped_column(REGCONFIG, default="english")
    words: Mapped[str] = mapped_column(
        TSVECTOR, Computed("to_tsvector(configuration, content)", persisted=True), deferred=True
    )
    embedding: Mapped[Sequence[float] | None] = mapped_column(Vector(DIMENSIONS))


def some_vectors(count: int, seed: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Rows of length 1 round the same 24 topics, as texts lie; the same for a seed."""
    centres = np.random.default_rng(0).normal(size=(24, dimensions))
    random = np.random.default_rng(seed)
    chosen = random.integers(len(centres), size=count)
    found = centres[chosen] + 0.5 * random.normal(size=(count, dimensions))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found, np.float32)
