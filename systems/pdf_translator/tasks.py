"""The jobs of pdf_translator."""

import uuid
from typing import TYPE_CHECKING

from bedplate.jobs.tasks import task

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun


@task(queue="translation", name="pdf_translator.translate_pdf")
async def translate_pdf(job: "JobRun", translation_id: uuid.UUID) -> None:
    """Translate a PDF: read its blocks, translate each, write the PDF in the other language."""
    raise NotImplementedError(f"{job.id}: translation {translation_id}")
