"""/documents: upload, list, search, download, delete; and a translation asked for."""

import uuid
from typing import Annotated

from fastapi import File, Form, Query, Response, UploadFile
from fastapi.responses import RedirectResponse

from bedplate.errors import NotFoundError
from bedplate.fastapi import DepLayer, DepUnitOfWork, PageOut, Problem, Router
from bedplate.files import stored_files
from bedplate.files.file_store import NewFile
from bedplate.files.stored_files import StoredFile
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork
from systems.librilabs.models import Translation
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Documents, Translations
from systems.librilabs.routes.identity import DepReader, identity_of
from systems.librilabs.schemas import (
    DocumentListed,
    DocumentOut,
    LanguageCode,
    TranslationOut,
    TranslationRequest,
)
from systems.librilabs.settings import LibriLabsSettings
from systems.librilabs.tasks import translate
from systems.librilabs.uploads import Upload, UploadError, read_upload
from systems.translation.problems import require_pair

TEXT = "text/plain"

router = Router(prefix="/documents", tags=["documents"], gate=identity_of)


@router.post("", status_code=201)
async def upload(
    file: Annotated[UploadFile, File(description="Plain text in UTF-8, at most 10 MiB.")],
    source_language: Annotated[LanguageCode, Form()],
    reader: DepReader,
    uow: DepUnitOfWork,
    layer: DepLayer,
) -> DocumentOut:
    """Store a text, and the file as it came. It can be searched and translated from now on."""
    # The transaction begins with its first statement: a refusal costs no connection.
    text = await _read(file)

    async def keep_original() -> uuid.UUID | None:
        if not layer.settings.has_files:
            return None
        await file.seek(0)
        return (await uow.store_file(file, NewFile(text.file_name, TEXT))).id

    document = await Documents(uow.session, reader).store(text, source_language, keep_original)
    return DocumentOut.model_validate(document)


@router.get("")
async def list_or_search(
    reader: DepReader,
    layer: DepLayer,
    q: Annotated[
        str | None, Query(description='Words, "phrases", or, -without.', max_length=256)
    ] = None,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageOut[DocumentListed]:
    """Your documents, newest first; with `q` those that match, best first."""
    async with layer.reading() as session:
        documents = Documents(session, reader)
        if q is None:
            page = await documents.page(cursor=cursor, limit=limit)
            items = [DocumentListed.model_validate(each) for each in page.items]
            return PageOut(items=items, next=page.next)
        hits = await documents.search(q, cursor=cursor, limit=limit)
        found = await documents.load_found(hits.items)
        return PageOut(items=[DocumentListed.of_hit(*each) for each in found], next=hits.next)


@router.get("/{document_id}")
async def show(document_id: uuid.UUID, reader: DepReader, layer: DepLayer) -> DocumentOut:
    """One document."""
    async with layer.reading() as session:
        return DocumentOut.model_validate(await Documents(session, reader).get(document_id))


@router.get(
    "/{document_id}/original",
    status_code=307,
    response_class=RedirectResponse,
    responses={404: {"description": "No such document, or none that kept its file."}},
)
async def download(document_id: uuid.UUID, reader: DepReader, layer: DepLayer) -> RedirectResponse:
    """The file as it was uploaded: the way to it, open for five minutes to whoever knows it."""
    file = await _load_original(layer, reader, document_id)
    link = await layer.files.link(file)
    return RedirectResponse(link, 307, headers={"Cache-Control": "private, no-store"})


@router.delete("/{document_id}", status_code=204)
async def delete(document_id: uuid.UUID, reader: DepReader, uow: DepUnitOfWork) -> None:
    """Delete a document with its file and its translations, and cancel their jobs."""
    documents = Documents(uow.session, reader)
    document = await documents.get(document_id, is_locked=True)
    await documents.remove(document)
    if document.original_file_id is not None:
        await uow.delete_file(document.original_file_id)


@router.post("/{document_id}/translations", status_code=202)
async def request_translation(
    document_id: uuid.UUID,
    wanted: TranslationRequest,
    reader: DepReader,
    uow: DepUnitOfWork,
    response: Response,
) -> TranslationOut:
    """Have a document translated. 200 when it is already being done or has been.

    A translation that has failed is queued again, and goes on after what it has committed.
    """
    # Locked: two who ask at once get the same translation, and a deletion waits or is seen.
    document = await Documents(uow.session, reader).get(document_id, is_locked=True)
    translations = Translations(uow.session, reader)
    translation = await translations.find_for(document, wanted.target_language)
    if translation is not None and await translations.failure(translation) is None:
        response.status_code = 200
        return TranslationOut.of(translation)
    engine = LibriLabsSettings.load().create_engine()
    await require_pair(engine, document.source_language, wanted.target_language)
    if translation is None:
        translation = await translations.start(document, wanted.target_language)
    await _queue(uow, translations, translation)
    return TranslationOut.of(translation)


async def _load_original(layer: DataLayer, reader: Reader, document_id: uuid.UUID) -> StoredFile:
    async with layer.reading() as session:
        document = await Documents(session, reader).get(document_id)
        if document.original_file_id is None:
            raise _no_original("The document was stored without its file.")
        if not layer.settings.has_files:
            raise _no_original("The file was kept where this server has no access now: no S3.")
        try:
            return await stored_files.load_readable(session, document.original_file_id)
        except NotFoundError as error:
            raise _no_original("The document's file is deleted.") from error


def _no_original(why: str) -> Problem:
    return Problem(404, why, code="original_missing")


async def _queue(uow: UnitOfWork, translations: Translations, translation: Translation) -> None:
    # One at a time: a failing job is still running for a moment after its translation has failed.
    task = translate.with_options(group_key=f"librilabs.translation:{translation.id}")
    job_id = uow.enqueue(task, translation.id)
    await translations.note_job(translation, job_id)


async def _read(file: UploadFile) -> Upload:
    try:
        return await read_upload(file)
    except UploadError as error:
        raise Problem(error.status, f"{error.message}. {error.hint}", code=error.code) from error
