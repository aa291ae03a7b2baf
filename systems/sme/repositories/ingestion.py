"""What the job of one piece of evidence reads and writes.

Each function belongs to one transaction of the job. All lock the evidence first, as who deletes it
does, and find nothing once it is deleted: then the job has nothing more to do.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.files import stored_files
from bedplate.files.stored_files import StoredFile
from systems.sme.cutting import Cut
from systems.sme.embedding.embedder import Vectors
from systems.sme.models import Evidence, EvidenceStatus, Passage


@dataclass(frozen=True)
class Task:
    """What is to be ingested: its file, and whether it is cut already."""

    file: StoredFile
    content_type: str
    is_cut: bool


@dataclass(frozen=True)
class Batch:
    """Passages to embed; `done` of `of` have been before."""

    ids: list[uuid.UUID]
    texts: list[str]
    done: int
    of: int

    @property
    def percent(self) -> int:
        """How far it is when these are embedded, too."""
        return (self.done + len(self.ids)) * 100 // self.of


class Ingestion:
    """One piece of evidence, for its job."""

    def __init__(self, session: AsyncSession, evidence_id: uuid.UUID) -> None:
        self.session = session
        self.id = evidence_id

    async def begin(self) -> Task | None:
        """Take up the work; None when it is done, or the evidence is deleted."""
        evidence = await self._locked()
        if evidence is None or evidence.status == EvidenceStatus.READY or evidence.file_id is None:
            return None
        file = await stored_files.load_readable(self.session, evidence.file_id)
        evidence.status = EvidenceStatus.INGESTING
        evidence.error = None
        await self.session.flush()
        return Task(file, evidence.content_type, evidence.passage_count is not None)

    async def store_passages(self, cuts: Sequence[Cut], config: str) -> None:
        """All passages at once: from now on they are found by their words."""
        evidence = await self._locked()
        if evidence is None or evidence.passage_count is not None:
            return
        rows = [
            {
                "evidence_id": self.id,
                "position": position,
                "page": cut.page,
                "start": cut.start,
                "end": cut.start + len(cut.text),
                "text": cut.text,
                "config": config,
            }
            for position, cut in enumerate(cuts)
        ]
        if rows:
            await self.session.execute(insert(Passage), rows)
        evidence.passage_count = len(rows)
        await self.session.flush()

    async def next_batch(self, model: str, size: int) -> Batch | None:
        """The first passages that this model has not embedded; None when there are none left."""
        open_ = Passage.evidence_id == self.id, Passage.embedding_model.is_distinct_from(model)
        found = await self.session.execute(
            select(Passage.id, Passage.text).where(*open_).order_by(Passage.position).limit(size)
        )
        rows = found.all()
        if not rows:
            return None
        of, left = (
            await self.session.execute(
                select(func.count(), func.count().filter(open_[1])).where(open_[0])
            )
        ).one()
        return Batch([row.id for row in rows], [row.text for row in rows], of - left, of)

    async def store_vectors(self, batch: Batch, vectors: Vectors, model: str) -> bool:
        """What the model has made of a batch. False when the evidence was deleted meanwhile."""
        if await self._locked() is None:
            return False
        rows: list[dict[str, Any]] = [
            {"id": id_, "embedding": vector, "embedding_model": model}
            for id_, vector in zip(batch.ids, vectors, strict=True)
        ]
        # By their keys: the evidence is present and locked, and so are they.
        await self.session.execute(
            update(Passage), rows, execution_options={"include_deleted": True}
        )
        return True

    async def complete(self, model: str) -> None:
        """All of it can be found by meaning, where this model embeds the question."""
        await self._end(EvidenceStatus.READY, None, model)

    async def note_failure(self, error: str, *, is_last: bool) -> None:
        """Say what went wrong; after the last attempt the evidence has failed."""
        await self._end(EvidenceStatus.FAILED if is_last else EvidenceStatus.PENDING, error)

    async def _end(
        self, status: EvidenceStatus, error: str | None, model: str | None = None
    ) -> None:
        evidence = await self._locked()
        if evidence is not None:
            evidence.status = status
            evidence.error = error
            evidence.embedding_model = model
            await self.session.flush()

    async def _locked(self) -> Evidence | None:
        statement = select(Evidence).where(Evidence.id == self.id).with_for_update()
        return (
            await self.session.scalars(statement.execution_options(populate_existing=True))
        ).one_or_none()
