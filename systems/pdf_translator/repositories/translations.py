"""A user's translations: begun, listed, and given up when their files have had their time."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.files.stored_files import StoredFile
from bedplate.jobs import ledger
from bedplate.rows.repository import Repository
from systems.pdf_translator.models import Translation, TranslationStatus


@dataclass(frozen=True)
class Languages:
    """From which language into which."""

    source: str
    target: str


class Translations(Repository[Translation]):
    """The translations of one user."""

    model = Translation

    def __init__(self, session: AsyncSession, user_id: uuid.UUID) -> None:
        super().__init__(session)
        self.user_id = user_id

    def visible(self) -> Select[Translation]:
        """This user's."""
        return super().visible().where(Translation.user_id == self.user_id)

    async def start(
        self, translation_id: uuid.UUID, file: StoredFile, languages: Languages, job_id: uuid.UUID
    ) -> Translation:
        """A translation that waits for its job, and expires with the file it is made of."""
        return await self.add(
            Translation(
                id=translation_id,
                user_id=self.user_id,
                original_path=file.key,
                original_file_id=file.id,
                file_name=file.file_name,
                file_size=file.size_bytes,
                source_language=languages.source,
                target_language=languages.target,
                job_id=job_id,
                expires_at=file.expires_at,
            )
        )

    async def failure(self, translation: Translation) -> str | None:
        """Why nothing more happens by itself to an unfinished translation; None when it does."""
        if TranslationStatus(translation.status).is_final:
            return None
        if translation.job_id is None:
            return "the translation has no job"
        return await ledger.why_ended(self.session, translation.job_id)


class ExpiredTranslations:
    """Everybody's translations whose files have had their time: for the job that says so."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def expire(self, limit: int) -> Sequence[Translation]:
        """Mark those whose time is over as expired, at most `limit`, and cancel their jobs.

        The database's clock decides. What a transaction holds at this moment is left to the next
        round.
        """
        statement = (
            select(Translation)
            .where(
                Translation.expires_at <= func.clock_timestamp(),
                Translation.status != TranslationStatus.EXPIRED,
            )
            .order_by(Translation.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = (await self.session.scalars(statement)).all()
        for translation in found:
            translation.status = TranslationStatus.EXPIRED
        await ledger.cancel(
            self.session, [each.job_id for each in found if each.job_id is not None]
        )
        await self.session.flush()
        return found
