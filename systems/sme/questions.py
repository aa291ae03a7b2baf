"""What is asked of the store over HTTP, and what is found."""

import uuid
from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from bedplate.fastapi.texts import storable
from bedplate.rows.fusion import Mode
from systems.sme.models import Evidence, Passage
from systems.sme.schemas import Moment, Source, Tag

# What a person asks; the embedder reads no more of it either.
MAX_QUERY_CHARACTERS = 2000

# The constraints before the check of what can be stored: so they stand in the OpenAPI, too.
Query = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_QUERY_CHARACTERS, pattern=r"\S"),
    AfterValidator(storable),
]


class SearchQuestion(BaseModel):
    """A question in whole sentences or in words, and which evidence may answer it."""

    model_config = ConfigDict(extra="forbid")

    query: Query
    mode: Mode = Field("hybrid", description="By meaning, by words, or both in one ranking.")
    limit: int = Field(20, ge=1, le=100)
    tags: list[Tag] = Field(default=[], max_length=50, description="Evidence that has all of them.")
    source: Source | None = Field(None, description="Evidence from there alone.")
    from_: Moment | None = Field(
        None, alias="from", description="Evidence observed then or later; never undated one."
    )
    to: Moment | None = Field(None, description="Evidence observed then or sooner.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.from_ is not None and self.to is not None and self.from_ > self.to:
            raise ValueError("from must not be after to")
        return self


class Position(BaseModel):
    """Where a passage stands in its evidence's text."""

    index: int = Field(description="Which passage it is, from 0.")
    page: int | None = Field(description="The page of a PDF, from 1.")
    start: int = Field(description="Its first character's number, from 0.")
    end: int = Field(description="The number after its last character's.")


class Origin(BaseModel):
    """The evidence that a passage is from."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    title: str
    source: str | None
    tags: list[str]
    observed_at: datetime | None


class FoundPassage(BaseModel):
    """A passage that was found."""

    score: float = Field(
        description="By meaning the cosine, by words BM25, hybrid a share of the best possible; "
        "scores of one search compare, those of two modes do not."
    )
    text: str
    position: Position
    evidence: Origin

    @classmethod
    def of(cls, score: float, passage: Passage, evidence: Evidence) -> Self:
        """Two rows and their rank."""
        return cls(
            score=score,
            text=passage.text,
            position=Position(
                index=passage.position, page=passage.page, start=passage.start, end=passage.end
            ),
            evidence=Origin.model_validate(evidence),
        )


class FoundPassages(BaseModel):
    """The best passages, best first."""

    items: list[FoundPassage]
