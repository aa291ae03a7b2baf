"""What a translation's job reads and writes. It acts for the owner, and knows no reader.

Each function belongs to one transaction of the job. All change the translation's row first: who
deletes the document locks it too, before the job's row.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, literal, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import NotFoundError
from systems.librilabs.models import Document, Translation, TranslationChunk, TranslationStatus
from systems.librilabs.state import TranslationState


@dataclass(frozen=True)
class Source:
    """The text to translate, and how far earlier attempts have come."""

    text: str
    source_language: str
    target_language: str
    state: TranslationState


class TranslationWork:
    """One translation, for its job. Everything raises `NotFoundError` when it was deleted."""

    def __init__(self, session: AsyncSession, translation_id: uuid.UUID) -> None:
        self.session = session
        self.id = translation_id

    async def begin(self, engine: str, note: str | None) -> Source | None:
        """Take up the work after the last committed chunk; None when it is done already."""
        statement = select(
            Translation.status,
            Translation.target_language,
            Translation.translation_state,
            Document.source_language,
            Document.content,
        ).join(Document)
        row = (
            await self.session.execute(
                statement.where(Translation.id == self.id).with_for_update(of=Translation)
            )
        ).one_or_none()
        if row is None:
            raise self._gone()
        if row.status == TranslationStatus.COMPLETED:
            return None
        count, end = await self._committed()
        state = TranslationState.of(row.translation_state).model_copy(
            update={
                "engine": engine,
                "note": note,
                "chunks_done": count,
                "characters_done": end,
                "characters_total": len(row.content),
                "error": None,
            }
        )
        await self._set(TranslationStatus.IN_PROGRESS, state)
        return Source(row.content, row.source_language, row.target_language, state)

    async def commit_chunk(self, chunk: TranslationChunk, state: TranslationState) -> None:
        """A chunk, and with it the progress."""
        await self._set(TranslationStatus.IN_PROGRESS, state)
        self.session.add(chunk)
        await self.session.flush()

    async def complete(self, state: TranslationState) -> None:
        """Put the chunks together, in the database and once."""
        separator = aggregate_order_by(literal(""), TranslationChunk.index)
        joined = (
            select(func.coalesce(func.string_agg(TranslationChunk.translated_text, separator), ""))
            .where(TranslationChunk.translation_id == self.id)
            .scalar_subquery()
        )
        await self._set(TranslationStatus.COMPLETED, state, joined)

    async def note_failure(self, error: str, *, is_last: bool) -> None:
        """Say what went wrong; after the last attempt the translation has failed."""
        statement = select(Translation.translation_state).where(Translation.id == self.id)
        row = (await self.session.execute(statement.with_for_update())).one_or_none()
        if row is None:
            raise self._gone()
        state = TranslationState.of(row.translation_state).model_copy(update={"error": error})
        status = TranslationStatus.FAILED if is_last else TranslationStatus.IN_PROGRESS
        await self._set(status, state)

    async def _committed(self) -> tuple[int, int]:
        statement = select(
            func.count(), func.coalesce(func.max(TranslationChunk.source_end), 0)
        ).where(TranslationChunk.translation_id == self.id)
        count, end = (await self.session.execute(statement)).one()
        return count, end

    async def _set(
        self,
        status: TranslationStatus,
        state: TranslationState,
        content: ColumnElement[str] | None = None,
    ) -> None:
        is_done = status is TranslationStatus.COMPLETED
        values = {
            "status": status,
            # 100 is kept for what can be read.
            "progress_percentage": 100 if is_done else min(99, state.progress_percentage),
            "translation_state": state.model_dump(mode="json"),
        }
        if content is not None:
            values["translated_content"] = content
        changed = await self.session.execute(
            update(Translation)
            .where(Translation.id == self.id)
            .values(**values)
            .returning(Translation.id)
            .execution_options(synchronize_session=False)
        )
        if changed.one_or_none() is None:
            raise self._gone()

    def _gone(self) -> NotFoundError:
        return NotFoundError(f"there is no Translation {self.id}", id=str(self.id))
