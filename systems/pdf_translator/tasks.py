"""The jobs of pdf_translator."""

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from bedplate.jobs.tasks import task
from systems.pdf_translator.repositories import ExpiredTranslations

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun

# Translations in one transaction of `expire`.
EXPIRED_AT_ONCE = 200


@task(queue="translation", name="pdf_translator.translate_pdf")
async def translate_pdf(job: "JobRun", translation_id: uuid.UUID) -> None:
    """Translate a PDF: read its blocks, translate each, write the PDF in the other language."""
    raise NotImplementedError(f"{job.id}: translation {translation_id}")


@task(every=timedelta(minutes=1), name="pdf_translator.expire")
async def expire(job: "JobRun") -> None:
    """Give up the translations whose time is over: rows say so, files go, jobs are cancelled."""
    is_more = True
    while is_more:
        async with job.transaction() as uow:
            expired = await ExpiredTranslations(uow.session).expire(EXPIRED_AT_ONCE)
            for translation in expired:
                for file_id in (translation.original_file_id, translation.translated_file_id):
                    if file_id is not None:
                        await uow.delete_file(file_id)
        is_more = len(expired) == EXPIRED_AT_ONCE
