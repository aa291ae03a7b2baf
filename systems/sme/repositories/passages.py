"""The search over passages: ranked by the layer, narrowed to the evidence that may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.fusion import Mode, Question, Searchable, search
from bedplate.rows.passages import regconfig_for
from systems.sme.models import Evidence, Passage


@dataclass(frozen=True)
class EvidenceFilter:
    """Which evidence may answer: with all these tags, from this source, observed between these."""

    tags: Sequence[str] = ()
    source: str | None = None
    earliest: datetime | None = None
    latest: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """On passages; none where nothing is asked for."""
        wanted: list[ColumnElement[bool]] = []
        if self.tags:
            wanted.append(Evidence.tags.contains(list(self.tags)))
        if self.source is not None:
            wanted.append(Evidence.source == self.source)
        if self.earliest is not None:
            wanted.append(Evidence.observed_at >= self.earliest)
        if self.latest is not None:
            wanted.append(Evidence.observed_at <= self.latest)
        return [Passage.evidence_id.in_(select(Evidence.id).where(*wanted))] if wanted else []


class Passages:
    """All passages that are not deleted, nor their evidence.

    `embedder` names the model whose vectors are compared; words are those of `language`.
    """

    def __init__(self, session: AsyncSession, embedder: str, language: str) -> None:
        self.session = session
        self._searchable = Searchable(
            key=Passage.id,
            embedding=Passage.embedding,
            words=Passage.tsv,
            configuration=regconfig_for(language),
            comparable=(Passage.embedding_model == embedder,),
        )

    async def search(
        self, question: Question, mode: Mode, among: EvidenceFilter, limit: int
    ) -> list[tuple[float, Passage, Evidence]]:
        """The best, with their score and evidence, best first."""
        ranked = await search(
            self.session,
            self._searchable,
            question,
            mode=mode,
            limit=limit,
            where=among.conditions(),
        )
        found = await self.session.execute(
            select(Passage, Evidence)
            .join(Evidence, Evidence.id == Passage.evidence_id)
            .where(Passage.id.in_([each.key for each in ranked]))
        )
        rows = {row.Passage.id: row for row in found}
        # What was deleted meanwhile is not shown.
        return [
            (each.score, rows[each.key].Passage, rows[each.key].Evidence)
            for each in ranked
            if each.key in rows
        ]
