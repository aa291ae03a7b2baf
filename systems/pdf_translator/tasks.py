"""The jobs of pdf_translator."""

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from bedplate.errors import LeaseLostError, NotFoundError
from bedplate.jobs.run import describe
from bedplate.jobs.tasks import task
from systems.documents.limits import PdfRefusedError
from systems.pdf_translator.attempt import Attempt
from systems.pdf_translator.repositories import ExpiredTranslations
from systems.pdf_translator.repositories.work import TranslationWork
from systems.translation.engines import PairUnavailableError

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun

LONGEST_ERROR = 500
# Translations in one transaction of `expire`.
EXPIRED_AT_ONCE = 200


@task(queue="translation", name="pdf_translator.translate_pdf")
async def translate_pdf(job: "JobRun", translation_id: uuid.UUID) -> None:
    """Translate a PDF: read its blocks, translate each, write the PDF in the other language.

    A file that cannot be translated is a result, not a failure: trying again would find the same.
    """
    try:
        await Attempt(job, translation_id).run()
    except LeaseLostError:
        # Another worker has the job, or it was cancelled: there is nothing to say.
        raise
    except NotFoundError:
        # Deleted or expired meanwhile: nobody waits for it.
        return
    except (PdfRefusedError, PairUnavailableError) as error:
        async with job.finishing() as uow:
            await TranslationWork(uow.session, translation_id).fail(str(error)[:LONGEST_ERROR])
    except Exception as error:
        async with job.transaction() as uow:
            work = TranslationWork(uow.session, translation_id)
            await (work.fail if job.is_last_attempt else work.note_error)(describe(error))
        raise


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
