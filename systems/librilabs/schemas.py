"""What goes in and out over HTTP."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bedplate.rows.search import Hit
from systems.librilabs.models import Document, Translation, TranslationStatus
from systems.librilabs.state import TranslationState
from systems.translation.languages import normalize_language

LanguageCode = Annotated[
    str,
    AfterValidator(normalize_language),
    Field(description="ISO 639-1, such as en", examples=["en"], max_length=20),
]


class DocumentOut(BaseModel):
    """A document without its text."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    file_name: str
    file_size: int = Field(description="In bytes, as uploaded.")
    source_language: str
    created_at: datetime
    updated_at: datetime


class DocumentListed(DocumentOut):
    """A document of a list; where it was searched for, how well it fits, and where."""

    rank: float | None = Field(None, description="0 to 1, the greater the better.")
    highlight: str | None = Field(
        None, description="An excerpt of the best passage as HTML, matches in <mark>."
    )
    passage: int | None = Field(None, description="Which passage that is, counted from 0.")

    @classmethod
    def of_hit(cls, document: Document, hit: Hit) -> "DocumentListed":
        """A document that a search has found."""
        return cls(
            **DocumentOut.model_validate(document).model_dump(),
            rank=hit.rank,
            highlight=hit.html(),
            passage=hit.position,
        )


class TranslationRequest(BaseModel):
    """Into which language."""

    model_config = ConfigDict(extra="forbid")

    target_language: LanguageCode


class TranslationOut(BaseModel):
    """A translation without its text."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    document_id: uuid.UUID
    target_language: str
    status: TranslationStatus
    progress_percentage: int
    translation_state: TranslationState
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, translation: Translation) -> "TranslationOut":
        """A row for a reader."""
        return cls(
            id=translation.id,
            document_id=translation.document_id,
            target_language=translation.target_language,
            status=TranslationStatus(translation.status),
            progress_percentage=translation.progress_percentage,
            translation_state=TranslationState.of(translation.translation_state),
            created_at=translation.created_at,
            updated_at=translation.updated_at,
        )
