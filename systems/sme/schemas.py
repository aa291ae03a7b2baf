"""What goes in and out over HTTP."""

import json
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)
from pydantic_core import from_json

from bedplate.fastapi import Line, Text
from systems.sme.models import MAX_SOURCE, MAX_TITLE, Evidence, EvidenceStatus
from systems.sme.repositories.evidence import Standing

MAX_TEXT_CHARACTERS = 10_000_000
MAX_METADATA_BYTES = 64 * 1024
# Between them every time zone's clock shows a date that Python and PostgreSQL have.
EARLIEST, LATEST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


def _storable_json(value: dict[str, Any]) -> dict[str, Any]:
    """What JSONB holds: no NaN, no character NUL, no half of a character, and not without end."""
    try:
        rendered = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(rendered.encode())
    except (ValueError, RecursionError):
        raise ValueError("must be JSON that PostgreSQL can store") from None
    if "\\u0000" in rendered.replace("\\\\", ""):
        raise ValueError("must not have the character NUL")
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"must not have more than {MAX_METADATA_BYTES} bytes")
    return value


Title = Annotated[Line, StringConstraints(min_length=1, max_length=MAX_TITLE)]
Source = Annotated[Line, StringConstraints(min_length=1, max_length=MAX_SOURCE)]
Tag = Annotated[Line, StringConstraints(min_length=1, max_length=100)]
Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]


class EvidenceDescription(BaseModel):
    """What is said about evidence, whatever it is."""

    model_config = ConfigDict(extra="forbid")

    source: Source | None = Field(None, description="Where it is from.")
    tags: list[Tag] = Field(default=[], max_length=50)
    observed_at: Moment | None = Field(None, description="When what it tells was seen.")
    metadata: Annotated[dict[str, Any], AfterValidator(_storable_json)] = Field(
        default={}, description="What else is known of it, any JSON object."
    )


class TextEvidence(EvidenceDescription):
    """A text, as JSON."""

    title: Title
    text: Annotated[Text, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


class FileEvidence(EvidenceDescription):
    """A file's fields in a form; `title` is the file's name where it is not said."""

    title: Title | None = None

    @field_validator("metadata", mode="before")
    @classmethod
    def _read_json(cls, value: Any) -> Any:
        """A form has texts alone."""
        try:
            return from_json(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("must be a JSON object") from None


class EvidenceOut(BaseModel):
    """A piece of evidence, and how far its ingestion is."""

    id: uuid.UUID
    title: str
    source: str | None
    tags: list[str]
    observed_at: datetime | None
    metadata: dict[str, Any]
    content_type: str
    size_bytes: int
    sha256: str = Field(description="Of the content, in hex: the same evidence has the same.")
    status: EvidenceStatus = Field(description="`ready` when all of it can be found by meaning.")
    progress: int = Field(description="Whole percents of its passages that are embedded.")
    passage_count: int | None
    error: str | None
    job_id: uuid.UUID | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, evidence: Evidence, standing: Standing) -> Self:
        """A row, as its job says that it stands."""
        return cls(
            id=evidence.id,
            title=evidence.title,
            source=evidence.source,
            tags=evidence.tags,
            observed_at=evidence.observed_at,
            metadata=evidence.details,
            content_type=evidence.content_type,
            size_bytes=evidence.size_bytes,
            sha256=evidence.content_hash.hex(),
            status=standing.status,
            progress=standing.progress,
            passage_count=evidence.passage_count,
            error=standing.error,
            job_id=evidence.job_id,
            created_at=evidence.created_at,
            updated_at=evidence.updated_at,
        )
