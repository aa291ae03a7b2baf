"""One attempt at a translation: a PDF is read, translated block by block, and written anew.

Three stages, each in steps that commit with their progress: pages into blocks, blocks into the
other language, the file with its text exchanged. An attempt takes up after the last committed step;
the blocks are the memory, and nothing of a file is kept outside of one folder, which goes with the
attempt. Called by `tasks.py`.
"""

import asyncio
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from bedplate.errors import NotFoundError
from bedplate.files import stored_files
from bedplate.files.file_store import NewFile
from systems.documents.limits import PdfLimits
from systems.documents.sandbox import ReadPage, read_pages
from systems.pdf_translator.models.translation import KEPT_FOR
from systems.pdf_translator.pdf.sandbox import write_pages
from systems.pdf_translator.repositories.glossary import GlossaryEntries
from systems.pdf_translator.repositories.work import Source, TranslationWork, Untranslated
from systems.pdf_translator.settings import PdfTranslatorSettings
from systems.translation.engines import Engine
from systems.translation.glossary import WithGlossary

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun

PDF = "application/pdf"
LIMITS = PdfLimits()
FOLDER = "pdf_translator-"

# A step of each stage: small enough that little is done twice after a death, large enough that a
# thousand pages are no thousand commits, and that an engine is not started for every cell.
PAGES_A_STEP = 20
BLOCKS_A_STEP = 40
CHARACTERS_A_STEP = 4000
# What divides blocks in one call of an engine: engines keep paragraphs apart, and blocks have none.
PARAGRAPHS = "\n\n"

# Where each stage ends, in percent. 100 is for what can be downloaded.
READ = 10
TRANSLATED = 90
WRITTEN = 99


class Attempt:
    """One run of a translation's job."""

    def __init__(self, job: "JobRun", translation_id: uuid.UUID) -> None:
        self.job = job
        self.id = translation_id
        self.progress = 0

    async def run(self) -> None:
        """From the last committed step to the end.

        Raises `NotFoundError` when the translation or its file is gone, `PdfRefusedError`,
        `PairUnavailableError`, `EngineError`.
        """
        engine: Engine = PdfTranslatorSettings.load().create_engine()
        async with self._step() as work:
            source = await work.begin(engine.name, engine.note)
            self.progress = 0 if source is None else source.progress
        if source is None:
            return
        async with self.job.reading() as session:
            entries = GlossaryEntries(session, source.user_id)
            engine = WithGlossary(engine, await entries.glossary_for(source.target_language))
        with _folder() as folder:
            original = await self._fetch(source, folder / "original.pdf")
            pages = source.page_count or await self._read(original, source.last_page)
            await self._translate(engine, source)
            await self._write(original, folder / "translated.pdf", pages)
            await self._store(folder / "translated.pdf", source)

    async def _fetch(self, source: Source, path: Path) -> Path:
        async with self.job.reading() as session:
            if source.file_id is None:
                raise NotFoundError(f"the file of translation {self.id} is gone", id=str(self.id))
            file = await stored_files.load_readable(session, source.file_id)
        with await asyncio.to_thread(path.open, "wb") as target:
            async for piece in self.job.layer.files.stream(file):
                await asyncio.to_thread(target.write, piece)
        return path

    async def _read(self, original: Path, last_page: int) -> int:
        """Pages into blocks; those of `last_page` and before are committed already."""
        count = 0
        waiting: list[ReadPage] = []
        async with aclosing(read_pages(original, LIMITS)) as pages:
            async for page in pages:
                count = page.of
                if page.number + 1 > last_page:
                    waiting.append(page)
                if len(waiting) == PAGES_A_STEP:
                    await self._add_pages(waiting)
                    waiting = []
        if waiting:
            await self._add_pages(waiting)
        async with self._step(READ) as work:
            await work.note_read(count, self.progress)
        return count

    async def _add_pages(self, pages: list[ReadPage]) -> None:
        last = pages[-1]
        async with self._step((last.number + 1) * READ // last.of) as work:
            await work.add_pages(pages, self.progress)

    async def _translate(self, engine: Engine, source: Source) -> None:
        async with self.job.reading() as session:
            done, total = await TranslationWork(session, self.id).characters()
        while True:
            async with self.job.reading() as session:
                blocks = await TranslationWork(session, self.id).untranslated(BLOCKS_A_STEP)
            blocks = _some(blocks)
            if not blocks:
                return
            texts = [block.text for block in blocks]
            languages = source.source_language, source.target_language
            translated = await translate_texts(engine, texts, *languages)
            done += sum(map(len, texts))
            async with self._step(READ + (TRANSLATED - READ) * done // total) as work:
                ids = [block.id for block in blocks]
                await work.translated(dict(zip(ids, translated, strict=True)), self.progress)

    async def _write(self, original: Path, target: Path, count: int) -> None:
        async with self.job.reading() as session:
            texts = await TranslationWork(session, self.id).changed_texts()
        async with aclosing(write_pages(original, target, texts, LIMITS)) as pages:
            async for number in pages:
                percent = TRANSLATED + (WRITTEN - TRANSLATED) * (number + 1) // count
                if percent > self.progress:
                    async with self._step(percent) as work:
                        await work.note_progress(percent)

    async def _store(self, target: Path, source: Source) -> None:
        """Keep the file for as long as the original; with it, the translation is complete."""
        async with self.job.reading() as session:
            left = await TranslationWork(session, self.id).time_left()
        name = f"{PurePath(source.file_name).stem}.{source.target_language}.pdf"
        async with self.job.finishing() as uow:
            file = await uow.store_file(target, NewFile(name, PDF, expires_in=left))
            await TranslationWork(uow.session, self.id).complete(file)

    @asynccontextmanager
    async def _step(self, percent: int = 0) -> AsyncIterator[TranslationWork]:
        """A transaction that commits while this attempt owns the job, with the progress of both."""
        self.progress = max(self.progress, percent)
        async with self.job.transaction() as uow:
            yield TranslationWork(uow.session, self.id)
            await self.job.progress(self.progress)


async def translate_texts(engine: Engine, texts: list[str], source: str, target: str) -> list[str]:
    """Each text in `target`, by one call of the engine where it keeps paragraphs apart.

    Raises `EngineError`.
    """
    translated = await engine.translate(PARAGRAPHS.join(texts), source, target)
    parts = [part.strip() for part in translated.split(PARAGRAPHS)]
    if len(parts) != len(texts) or not all(parts):
        parts = [await engine.translate(text, source, target) for text in texts]
    # What PostgreSQL keeps in no text.
    return [part.replace("\0", "") for part in parts]


def _some(blocks: list[Untranslated]) -> list[Untranslated]:
    """The first of them, as many as a step may have characters, and one at least."""
    characters = 0
    for count, block in enumerate(blocks):
        characters += len(block.text)
        if count and characters > CHARACTERS_A_STEP:
            return blocks[:count]
    return blocks


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for this attempt; those that a killed one has left go when their files do."""
    room = Path(tempfile.gettempdir())
    for left in room.glob(f"{FOLDER}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > KEPT_FOR.total_seconds():
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        yield Path(name)
