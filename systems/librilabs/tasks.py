"""The job of librilabs: one translation, chunk by chunk.

An engine is asked outside any transaction, and each chunk is committed with the progress, so a
killed worker's successor goes on after the last committed chunk. At most the chunk in flight is
asked again, and the fence lets only one attempt store it.
"""

import json
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from bedplate.errors import LeaseLostError, NotFoundError
from bedplate.jobs.run import describe
from bedplate.jobs.tasks import task
from bedplate.rows.search import cut_passages
from systems.librilabs.models import TranslationChunk
from systems.librilabs.repositories import TranslationWork
from systems.librilabs.settings import LibriLabsSettings

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun


@task(queue="translation", name="librilabs.translate")
async def translate(job: "JobRun", translation_id: uuid.UUID) -> None:
    """Translate what is left of a document."""
    try:
        await _translate(job, translation_id)
    except (LeaseLostError, NotFoundError):
        # Another worker has the job, or the document was deleted: there is nothing to say.
        raise
    except Exception as error:
        async with job.transaction() as uow:
            work = TranslationWork(uow.session, translation_id)
            await work.note_failure(describe(error), is_last=job.is_last_attempt)
        raise


async def _translate(job: "JobRun", translation_id: uuid.UUID) -> None:
    settings = LibriLabsSettings.load()
    engine = settings.create_engine()
    async with job.transaction() as uow:
        source = await TranslationWork(uow.session, translation_id).begin(engine.name, engine.note)
    if source is None:
        return
    state = source.state
    for text in cut_passages(source.text[state.characters_done :]):
        log_call(settings.engine_log, translation_id, state.chunks_done)
        translated = await engine.translate(text, source.source_language, source.target_language)
        chunk = TranslationChunk(
            translation_id=translation_id,
            index=state.chunks_done,
            source_start=state.characters_done,
            source_end=state.characters_done + len(text),
            translated_text=translated,
        )
        state = state.model_copy(
            update={"chunks_done": chunk.index + 1, "characters_done": chunk.source_end}
        )
        await job.progress(state.progress_percentage)
        async with job.transaction() as uow:
            await TranslationWork(uow.session, translation_id).commit_chunk(chunk, state)
    async with job.finishing() as uow:
        await TranslationWork(uow.session, translation_id).complete(state)


def log_call(path: Path | None, translation_id: uuid.UUID, chunk: int) -> None:
    """Append a line for one call of the engine, before it: for counting repeats after a kill."""
    if path is None:
        return
    line = json.dumps({"translation_id": str(translation_id), "chunk": chunk, "pid": os.getpid()})
    # One write to a file that is open for appending: lines of several workers do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
