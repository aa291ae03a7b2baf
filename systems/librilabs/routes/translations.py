"""/translations: how far one is, as it happens, and its text."""

import uuid
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import PlainTextResponse

from bedplate.fastapi import DepLayer, EventStream, Problem, Router, follow_job
from bedplate.layer import DataLayer
from systems.librilabs.models import TranslationStatus
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Translations
from systems.librilabs.routes.identity import DepReader
from systems.librilabs.schemas import TranslationOut

router = Router(prefix="/translations", tags=["translations"])


async def load(translation_id: uuid.UUID, reader: DepReader, layer: DepLayer) -> TranslationOut:
    """The translation that a path names, if it is the reader's."""
    return await _load(layer, reader, translation_id)


DepTranslation = Annotated[TranslationOut, Depends(load)]


@router.get("/{translation_id}")
async def show(translation: DepTranslation) -> TranslationOut:
    """How far a translation is."""
    return translation


@router.get("/{translation_id}/events", response_class=EventStream)
async def follow(
    request: Request, translation: DepTranslation, reader: DepReader, layer: DepLayer
) -> Response:
    """The translation as server-sent events: now, whenever its job moves, and to its end."""
    return follow_job(
        request,
        layer,
        translation.translation_state.job_id,
        now=translation,
        show=lambda: _load(layer, reader, translation.id),
        is_final=lambda shown: shown.status.is_final,
    )


@router.get("/{translation_id}/content", response_class=PlainTextResponse)
async def content(translation_id: uuid.UUID, reader: DepReader, layer: DepLayer) -> str:
    """The translated text, once it is complete."""
    async with layer.reading() as session:
        text = await Translations(session, reader).content(translation_id)
    if text is None:
        raise Problem(409, "The translation is not complete.", code="translation_incomplete")
    return text


async def _load(layer: DataLayer, reader: Reader, translation_id: uuid.UUID) -> TranslationOut:
    async with layer.reading() as session:
        translations = Translations(session, reader)
        translation = await translations.get(translation_id)
        shown = TranslationOut.of(translation)
        failure = await translations.failure(translation)
    if failure is None:
        return shown
    state = shown.translation_state.model_copy(update={"error": failure})
    return shown.model_copy(update={"status": TranslationStatus.FAILED, "translation_state": state})
