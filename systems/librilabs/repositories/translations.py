"""A reader's translations, each shown as its job says that it stands."""

import uuid

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import NotFoundError
from bedplate.jobs import ledger
from bedplate.rows.repository import Repository
from systems.librilabs.models import Document, Translation, TranslationStatus
from systems.librilabs.readers import Reader
from systems.librilabs.state import TranslationState


class Translations(Repository[Translation]):
    """What one reader owns. Raises `OwnerMissingError` for a reader who is nobody."""

    model = Translation

    def __init__(self, session: AsyncSession, reader: Reader) -> None:
        super().__init__(session)
        self.reader = reader
        self._owned = reader.owns(Translation)

    def visible(self) -> Select[Translation]:
        """The reader's translations."""
        return super().visible().where(self._owned)

    async def find_for(self, document: Document, target_language: str) -> Translation | None:
        """The translation of this document into this language, locked, or None."""
        statement = self.visible().where(
            Translation.document_id == document.id,
            Translation.target_language == target_language,
        )
        return (await self.session.scalars(statement.with_for_update(of=Translation))).one_or_none()

    async def start(self, document: Document, target_language: str) -> Translation:
        """A pending translation of this reader, without a job so far."""
        return await self.add(
            Translation(
                document_id=document.id,
                target_language=target_language,
                status=TranslationStatus.PENDING,
                progress_percentage=0,
                **self.reader.columns(),
            )
        )

    async def note_job(self, translation: Translation, job_id: uuid.UUID) -> None:
        """The translation waits for this job; what an earlier one has committed stays."""
        state = TranslationState.of(translation.translation_state)
        translation.status = TranslationStatus.PENDING
        translation.translation_state = state.with_(job_id=job_id, error=None)
        await self.session.flush()
        # The trigger has moved it.
        await self.session.refresh(translation, ["updated_at"])

    async def failure(self, translation: Translation) -> str | None:
        """Why nothing more happens by itself to an unfinished translation; None when it does.

        Raises `NotFoundError` when the translation was deleted meanwhile.
        """
        if translation.status == TranslationStatus.COMPLETED:
            return None
        state = TranslationState.of(translation.translation_state)
        if translation.status == TranslationStatus.FAILED:
            return state.error or "the job failed"
        if state.job_id is None:
            return "the translation has no job"
        reason = await ledger.why_ended(self.session, state.job_id)
        if reason is None or await self._waits_for_another(translation, state.job_id):
            return None
        return reason

    async def _waits_for_another(self, translation: Translation, job_id: uuid.UUID) -> bool:
        """Whether, since it was read, the translation was queued again.

        Raises `NotFoundError` when it was deleted, which is what cancels most jobs.
        """
        statement = select(Translation.translation_state).where(Translation.id == translation.id)
        row = (await self.session.execute(statement)).one_or_none()
        if row is None:
            raise _gone(translation.id)
        return TranslationState.of(row.translation_state).job_id != job_id

    async def content(self, translation_id: uuid.UUID) -> str | None:
        """The translated text; None while there is none. Raises `NotFoundError`."""
        statement = select(Translation.translated_content).where(
            Translation.id == translation_id, self._owned
        )
        row = (await self.session.execute(statement)).one_or_none()
        if row is None:
            raise _gone(translation_id)
        content: str | None = row.translated_content
        return content


def _gone(translation_id: uuid.UUID) -> NotFoundError:
    return NotFoundError(f"there is no Translation {translation_id}", id=str(translation_id))
