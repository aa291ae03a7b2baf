"""What goes in and out over HTTP."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bedplate.fastapi import Line
from systems.pdf_translator.models import Translation, TranslationStatus
from systems.pdf_translator.models.glossary import LONGEST_TERM
from systems.translation.languages import normalize_language

LanguageCode = Annotated[
    str,
    AfterValidator(normalize_language),
    Field(description="ISO 639-1, such as es", examples=["es"], max_length=20),
]


def _some(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


Term = Annotated[Line, AfterValidator(_some), Field(max_length=LONGEST_TERM)]


class UserOut(BaseModel):
    """Who is signed in."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    email: str
    name: str
    created_at: datetime


class GlossaryIn(BaseModel):
    """A term, and what it is in one language."""

    model_config = ConfigDict(extra="forbid")

    term: Term = Field(
        description="In small letters it stands for itself however a text capitalises it."
    )
    translation: Term
    target_lang: LanguageCode


class GlossaryOut(BaseModel):
    """An entry of the glossary."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    term: str
    translation: str
    target_lang: str
    created_at: datetime
    updated_at: datetime


class TranslationOut(BaseModel):
    """A translation, and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    status: TranslationStatus
    progress: int = Field(description="In percent.")
    file_name: str
    file_size: int = Field(description="In bytes, as uploaded.")
    page_count: int | None = Field(description="Known once the file was read.")
    source_language: str
    target_language: str
    engine: str | None = Field(description="What translates.")
    note: str | None = Field(description="What is to be known of the result.")
    error: str | None = Field(description="Why it failed, or what went wrong so far.")
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    expires_at: datetime = Field(description="When its files are gone.")

    @classmethod
    def of(cls, translation: Translation, failure: str | None = None) -> "TranslationOut":
        """A row for its user; with `failure`, as one that has failed for this reason."""
        shown = cls.model_validate(translation)
        if failure is None:
            return shown
        return shown.model_copy(update={"status": TranslationStatus.FAILED, "error": failure})


class BlockOut(BaseModel):
    """A block of a page, in both languages."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    block_num: int = Field(description="Counted from 1, in reading order.")
    original_text: str
    translated_text: str | None
    coordinates: dict[str, Any] = Field(
        description="In points from the page's top left corner: left, top, right, bottom."
    )


class PageBlocksOut(BaseModel):
    """The blocks of one page."""

    page: int = Field(description="Counted from 1.")
    page_count: int | None
    blocks: list[BlockOut]
