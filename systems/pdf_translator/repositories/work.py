"""What a translation's job reads and writes. It acts for the owner, and checks no user.

Each function belongs to one transaction of the job. All change the translation's row first, as
those do that give it up: so two never wait for each other crosswise. What has expired is gone.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import NotFoundError
from bedplate.files.stored_files import StoredFile
from systems.documents.sandbox import ReadPage
from systems.pdf_translator.models import DocumentBlock, Translation, TranslationStatus

LIVE = (TranslationStatus.PENDING, TranslationStatus.IN_PROGRESS, TranslationStatus.FAILED)


@dataclass(frozen=True)
class Source:
    """What to translate, and how far earlier attempts have come."""

    user_id: uuid.UUID
    file_id: uuid.UUID | None
    file_name: str
    source_language: str
    target_language: str
    # None until every page has been read.
    page_count: int | None
    last_page: int
    progress: int


@dataclass(frozen=True)
class Untranslated:
    """A block that waits."""

    id: uuid.UUID
    text: str


class TranslationWork:
    """One translation, for its job. Raises `NotFoundError` when it was deleted or has expired."""

    def __init__(self, session: AsyncSession, translation_id: uuid.UUID) -> None:
        self.session = session
        self.id = translation_id

    async def begin(self, engine: str, note: str | None) -> Source | None:
        """Take up the work where earlier attempts have left it; None when it is done already."""
        statement = select(Translation).where(Translation.id == self.id).with_for_update()
        row = (await self.session.scalars(statement)).one_or_none()
        if row is None or row.status == TranslationStatus.EXPIRED:
            raise self._gone()
        if row.status == TranslationStatus.COMPLETED:
            return None
        row.status = TranslationStatus.IN_PROGRESS
        row.engine, row.note, row.error = engine, note, None
        # Begun: who follows the job sees it move.
        row.progress = max(row.progress, 1)
        await self.session.flush()
        last_page = await self.session.scalar(
            select(func.coalesce(func.max(DocumentBlock.page_num), 0)).where(
                DocumentBlock.translation_id == self.id
            )
        )
        return Source(
            user_id=row.user_id,
            file_id=row.original_file_id,
            file_name=row.file_name,
            source_language=row.source_language,
            target_language=row.target_language,
            page_count=row.page_count,
            last_page=last_page or 0,
            progress=row.progress,
        )

    async def add_pages(self, pages: Sequence[ReadPage], progress: int) -> None:
        """The blocks of pages, and with them the progress. What has no words is its translation."""
        await self._set(progress=progress)
        rows = [
            {
                "translation_id": self.id,
                "page_num": page.number + 1,
                "block_num": number,
                "original_text": block.text,
                "translated_text": block.text if block.is_wordless else None,
                "coordinates": block.coordinates,
            }
            for page in pages
            for number, block in enumerate(page.blocks, 1)
        ]
        if rows:
            await self.session.execute(insert(DocumentBlock), rows)

    async def note_read(self, page_count: int, progress: int) -> None:
        """Every block of every page is there."""
        await self._set(page_count=page_count, progress=progress)

    async def characters(self) -> tuple[int, int]:
        """How many there are in blocks that are translated, and in all."""
        length = func.char_length(DocumentBlock.original_text)
        done = func.sum(length).filter(DocumentBlock.translated_text.is_not(None))
        row = (
            await self.session.execute(
                select(func.coalesce(done, 0), func.coalesce(func.sum(length), 0)).where(
                    DocumentBlock.translation_id == self.id
                )
            )
        ).one()
        return row[0], row[1]

    async def untranslated(self, limit: int) -> list[Untranslated]:
        """The first blocks that wait, in the order of the pages."""
        statement = (
            select(DocumentBlock.id, DocumentBlock.original_text)
            .where(DocumentBlock.translation_id == self.id, DocumentBlock.translated_text.is_(None))
            .order_by(DocumentBlock.page_num, DocumentBlock.block_num)
            .limit(limit)
        )
        return [Untranslated(*row) for row in await self.session.execute(statement)]

    async def translated(self, texts: Mapping[uuid.UUID, str], progress: int) -> None:
        """The translations of some blocks, and with them the progress."""
        await self._set(progress=progress)
        await self.session.execute(
            update(DocumentBlock),
            [{"id": block_id, "translated_text": text} for block_id, text in texts.items()],
        )

    async def changed_texts(self) -> dict[int, dict[int, str]]:
        """By page and block, both from 0, every text that is another than the original's."""
        statement = select(
            DocumentBlock.page_num, DocumentBlock.block_num, DocumentBlock.translated_text
        ).where(
            DocumentBlock.translation_id == self.id,
            DocumentBlock.translated_text != DocumentBlock.original_text,
        )
        texts: dict[int, dict[int, str]] = {}
        for page, block, text in await self.session.execute(statement):
            texts.setdefault(page - 1, {})[block - 1] = text or ""
        return texts

    async def note_progress(self, progress: int) -> None:
        """How far it is."""
        await self._set(progress=progress)

    async def time_left(self) -> timedelta:
        """Until its files go."""
        statement = select(Translation.expires_at - func.clock_timestamp()).where(
            Translation.id == self.id
        )
        left: timedelta | None = await self.session.scalar(statement)
        if left is None or left <= timedelta():
            raise self._gone()
        return left

    async def complete(self, file: StoredFile) -> None:
        """The translated PDF is stored by this transaction, too."""
        await self._set(
            status=TranslationStatus.COMPLETED,
            progress=100,
            translated_path=file.key,
            translated_file_id=file.id,
            completed_at=func.now(),
            error=None,
        )

    async def fail(self, error: str) -> None:
        """It cannot be translated."""
        await self._set(status=TranslationStatus.FAILED, error=error)

    async def note_error(self, error: str) -> None:
        """What went wrong; it will be tried again."""
        await self._set(error=error)

    async def _set(self, **values: Any) -> None:
        changed = await self.session.execute(
            update(Translation)
            .where(Translation.id == self.id, Translation.status.in_(LIVE))
            .values(**values)
            .returning(Translation.id)
            .execution_options(synchronize_session=False)
        )
        if changed.one_or_none() is None:
            raise self._gone()

    def _gone(self) -> NotFoundError:
        return NotFoundError(f"there is no Translation {self.id} to work on", id=str(self.id))
