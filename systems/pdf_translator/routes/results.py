"""/translations/{id}/events and /download: how far a translation is as it moves, and its PDF."""

import uuid

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from bedplate.errors import NotFoundError
from bedplate.fastapi import DepLayer, EventStream, Problem, Router, follow_job
from bedplate.files import stored_files
from bedplate.files.object_store import LONGEST_GET_LINK
from bedplate.layer import DataLayer
from systems.pdf_translator.accounts import DepUser, sign_in
from systems.pdf_translator.models import TranslationStatus
from systems.pdf_translator.repositories import Translations
from systems.pdf_translator.schemas import TranslationOut

router = Router(prefix="/translations", tags=["translations"], gate=sign_in.session)


@router.get("/{translation_id}/events", response_class=EventStream)
async def follow(
    translation_id: uuid.UUID, request: Request, user_id: DepUser, layer: DepLayer
) -> Response:
    """The translation as server-sent events: now, whenever it moves, and at last as `end`."""
    job_id, now = await _load(layer, user_id, translation_id)

    async def show() -> TranslationOut:
        return (await _load(layer, user_id, translation_id))[1]

    return follow_job(
        request,
        layer,
        job_id,
        now=now,
        show=show,
        is_final=lambda shown: shown.status.is_final,
    )


@router.get("/{translation_id}/download", status_code=307, response_class=RedirectResponse)
async def download(
    translation_id: uuid.UUID, user_id: DepUser, layer: DepLayer
) -> RedirectResponse:
    """The translated PDF: the way to it, open for five minutes to whoever knows it.

    409 while it is not complete, 410 when its 24 hours are over.
    """
    async with layer.reading() as session:
        translation = await Translations(session, user_id).get(translation_id)
        left = translation.expires_at - await stored_files.now(session)
        if translation.status == TranslationStatus.EXPIRED or left.total_seconds() < 1:
            raise _gone()
        if translation.translated_file_id is None:
            raise Problem(409, "The translation is not complete.", code="translation_incomplete")
        try:
            file = await stored_files.load_readable(session, translation.translated_file_id)
        except NotFoundError as error:
            raise _gone() from error
    link = await layer.files.link(file, expires_in=min(left, LONGEST_GET_LINK))
    return RedirectResponse(link, 307, headers={"Cache-Control": "private, no-store"})


async def _load(
    layer: DataLayer, user_id: uuid.UUID, translation_id: uuid.UUID
) -> tuple[uuid.UUID | None, TranslationOut]:
    """Its job, and how it stands."""
    async with layer.reading() as session:
        translations = Translations(session, user_id)
        translation = await translations.get(translation_id)
        failure = await translations.failure(translation)
        return translation.job_id, TranslationOut.of(translation, failure)


def _gone() -> Problem:
    return Problem(410, "The files of this translation are gone.", code="translation_expired")
