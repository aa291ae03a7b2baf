"""What goes in and out over HTTP."""

import uuid
from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from systems.live_agent.models import Role, SessionStatus

T = TypeVar("T")

# No control characters: PostgreSQL stores no NUL, and a name is one line.
Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$"
    ),
]
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$",
    ),
    Field(examples=["ann@example.org"]),
]
# bcrypt hashes 72 bytes: the layer refuses more, which may be fewer characters.
Password = Annotated[str, Field(min_length=8, max_length=72)]


class Form(BaseModel):
    """What a request brings: nothing that is not asked for."""

    model_config = ConfigDict(extra="forbid")


class Row(BaseModel):
    """What is answered of a row."""

    model_config = ConfigDict(from_attributes=True)


class SignUp(Form):
    """A new organization, and its first admin."""

    name: Name
    email: Email
    password: Password
    full_name: Name | None = None


class LogIn(Form):
    """Who asks to be let in."""

    email: Email
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class NewMember(Form):
    """A member, with the password that an admin tells them."""

    email: Email
    password: Password
    full_name: Name | None = None
    role: Role = Role.MEMBER


class MemberChange(Form):
    """What changes; what is left out stays."""

    role: Role | None = None
    is_active: bool | None = None


class NewSession(Form):
    """A room."""

    room_name: Name


class SessionEnd(Form):
    """How a session ended."""

    status: Literal[SessionStatus.COMPLETED, SessionStatus.ERROR] = SessionStatus.COMPLETED


class OrganizationOut(Row):
    """An organization."""

    id: uuid.UUID
    name: str
    created_at: datetime
    updated_at: datetime


class UserOut(Row):
    """A member. Nothing of the password, not even its hash."""

    id: uuid.UUID
    email: str
    full_name: str | None
    organization_id: uuid.UUID
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime


class MeOut(UserOut):
    """Who asks, and of which organization."""

    organization: OrganizationOut


class SessionOut(Row):
    """A live session."""

    id: uuid.UUID
    organization_id: uuid.UUID
    room_name: str
    status: SessionStatus
    started_at: datetime | None
    ended_at: datetime | None
    created_at: datetime


class PageOut(BaseModel, Generic[T]):
    """Some items, newest first; `next` is the `cursor` of the page that follows, or null."""

    items: list[T]
    next: str | None
