"""What goes over the WebSocket, both ways, as JSON texts with a `type`."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from systems.live_agent.models import EventKind, SessionStatus
from systems.live_agent.models.event import LONGEST_TEXT


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Say(_Sent):
    """Say something to the room."""

    type: Literal["message"]
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]

    @field_validator("text")
    @classmethod
    def _has_no_nul(cls, text: str) -> str:
        if "\0" in text:
            raise ValueError("a text has no NUL")
        return text


class WhoIsThere(_Sent):
    """Ask who is there."""

    type: Literal["presence"]


class Leave(_Sent):
    """Leave, and have the socket closed."""

    type: Literal["leave"]


# `SENT.validate_json(text)` raises `ValueError`.
SENT: TypeAdapter[Say | WhoIsThere | Leave] = TypeAdapter(
    Annotated[Say | WhoIsThere | Leave, Field(discriminator="type")]
)


class Member(BaseModel):
    """Somebody in a room."""

    id: uuid.UUID
    name: str


class Event(BaseModel):
    """Something that happened in the session, as it is kept."""

    model_config = ConfigDict(from_attributes=True)

    type: EventKind
    position: int
    member: Member
    text: str | None = None
    at: datetime


class Welcome(BaseModel):
    """The first one: who is there, and the last events."""

    type: Literal["welcome"] = "welcome"
    session_id: uuid.UUID
    status: SessionStatus
    you: Member
    present: Sequence[Member]
    events: Sequence[Event]


class PresenceTold(BaseModel):
    """Who is there now."""

    type: Literal["presence"] = "presence"
    present: Sequence[Member]


class Interrupted(BaseModel):
    """Redis is away: events come late, and who is there is not known."""

    type: Literal["interrupted"] = "interrupted"
    code: str = "redis_unreachable"
    detail: str = (
        "Redis does not answer: events come late and who is there is not known. "
        "What is said is kept, and shown to everyone."
    )


class Resumed(BaseModel):
    """Events come at once again; none is missing."""

    type: Literal["resumed"] = "resumed"


class Refused(BaseModel):
    """What was sent is not done."""

    type: Literal["error"] = "error"
    code: str
    detail: str
