"""/translations: upload a PDF, look how far it is, and read its blocks."""

import uuid
from typing import Annotated

from fastapi import File, Form, Query, UploadFile

from bedplate import new_id
from bedplate.fastapi import DepLayer, DepUnitOfWork, PageOut, Problem, Router
from bedplate.files.file_store import NewFile
from systems.documents.limits import (
    FIRST_BYTES,
    PdfLimits,
    PdfRefusedError,
    check_beginning,
)
from systems.pdf_translator.accounts import DepUser, sign_in
from systems.pdf_translator.models.translation import KEPT_FOR
from systems.pdf_translator.repositories import Blocks, Translations
from systems.pdf_translator.repositories.translations import Languages
from systems.pdf_translator.schemas import BlockOut, LanguageCode, PageBlocksOut, TranslationOut
from systems.pdf_translator.settings import PdfTranslatorSettings
from systems.pdf_translator.tasks import translate_pdf
from systems.translation.problems import require_pair

PDF = "application/pdf"
MAX_FILE_BYTES = PdfLimits().size_bytes
# Room for boundaries, part headers and the language fields beside the largest file.
MAX_BODY_BYTES = MAX_FILE_BYTES + 64 * 1024

router = Router(prefix="/translations", tags=["translations"], gate=sign_in.session)


@router.post("", status_code=202)
async def upload(
    file: Annotated[UploadFile, File(description="A PDF, at most 50 MiB.")],
    target_language: Annotated[LanguageCode, Form()],
    user_id: DepUser,
    uow: DepUnitOfWork,
    layer: DepLayer,
    source_language: Annotated[LanguageCode, Form()] = "en",
) -> TranslationOut:
    """Have a PDF translated. File, row and job are stored together, the file for 24 hours."""
    # The transaction begins with its first statement: a refusal costs no connection.
    if not layer.settings.has_files:
        raise Problem(503, "No S3 is configured: AWS_BUCKET_NAME is not set.", code="files_missing")
    await _check_file(file)
    engine = PdfTranslatorSettings.load().create_engine()
    await require_pair(engine, source_language, target_language)
    stored = await uow.store_file(
        file,
        NewFile(file.filename or "", PDF, expires_in=KEPT_FOR),
        limit_bytes=MAX_FILE_BYTES,
    )
    translation_id = new_id()
    job_id = uow.enqueue(translate_pdf, translation_id)
    languages = Languages(source_language, target_language)
    translation = await Translations(uow.session, user_id).start(
        translation_id, stored, languages, job_id
    )
    return TranslationOut.of(translation)


@router.get("")
async def list_translations(
    user_id: DepUser,
    layer: DepLayer,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageOut[TranslationOut]:
    """Your translations, the newest first."""
    async with layer.reading() as session:
        translations = Translations(session, user_id)
        page = await translations.page(cursor=cursor, limit=limit)
        items = [TranslationOut.of(each, await translations.failure(each)) for each in page.items]
    return PageOut(items=items, next=page.next)


@router.get("/{translation_id}")
async def show(translation_id: uuid.UUID, user_id: DepUser, layer: DepLayer) -> TranslationOut:
    """How far a translation is."""
    async with layer.reading() as session:
        translations = Translations(session, user_id)
        translation = await translations.get(translation_id)
        return TranslationOut.of(translation, await translations.failure(translation))


@router.get("/{translation_id}/blocks")
async def list_blocks(
    translation_id: uuid.UUID,
    user_id: DepUser,
    layer: DepLayer,
    page: Annotated[int, Query(ge=1, le=1_000_000, description="Counted from 1.")] = 1,
) -> PageBlocksOut:
    """The blocks of a page, each with what it says in both languages, and where it stands."""
    async with layer.reading() as session:
        translation = await Translations(session, user_id).get(translation_id)
        found = await Blocks(session, translation.id).of_page(page)
        return PageBlocksOut(
            page=page,
            page_count=translation.page_count,
            blocks=[BlockOut.model_validate(each) for each in found],
        )


async def _check_file(file: UploadFile) -> None:
    try:
        check_beginning(await file.read(FIRST_BYTES))
    except PdfRefusedError as error:
        raise Problem(415, str(error), code=error.reason) from error
    await file.seek(0)
