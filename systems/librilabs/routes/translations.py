"""/translations: how far one is, as it happens, and its text."""

import asyncio
import uuid
from collections.abc import AsyncIterable
from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from bedplate.errors import NotFoundError
from bedplate.fastapi import DepLayer, Problem, Router
from bedplate.layer import DataLayer
from systems.librilabs.models import TranslationStatus
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Translations
from systems.librilabs.routes.identity import DepReader
from systems.librilabs.schemas import TranslationOut

# How often a follower's translation is read: one row by its key, and seldom worth more.
POLL = timedelta(milliseconds=300)

router = Router(prefix="/translations", tags=["translations"])


async def load(translation_id: uuid.UUID, reader: DepReader, layer: DepLayer) -> TranslationOut:
    """The translation that a path names, if it is the reader's."""
    return await _load(layer, reader, translation_id)


DepTranslation = Annotated[TranslationOut, Depends(load)]


@router.get("/{translation_id}")
async def show(translation: DepTranslation) -> TranslationOut:
    """How far a translation is."""
    return translation


@router.get("/{translation_id}/events", response_class=EventSourceResponse)
async def follow(
    translation: DepTranslation, reader: DepReader, layer: DepLayer
) -> AsyncIterable[ServerSentEvent]:
    """The translation as server-sent events: now, at each change, and to its end."""
    # No transaction is held between two looks, however long the reader stays.
    yield ServerSentEvent(data=translation)
    while not translation.status.is_final:
        await asyncio.sleep(POLL.total_seconds())
        seen = translation
        try:
            translation = await _load(layer, reader, seen.id)
        except NotFoundError:
            # Deleted meanwhile: the stream ends.
            return
        if translation != seen:
            yield ServerSentEvent(data=translation)


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
