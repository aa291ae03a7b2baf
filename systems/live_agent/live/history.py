"""The history of a session in PostgreSQL: the truth that Redis has a copy of.

Each event takes the next position of its session under a lock on the session's row, and is said on
the session's channel with the commit.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.cache.channels import Numbered
from bedplate.errors import ConflictError, NotFoundError
from bedplate.unit_of_work import UnitOfWork
from systems.live_agent.live.wire import Event, Member
from systems.live_agent.models import EventKind, Role, Session, SessionEvent, SessionStatus, User

ENDED = (SessionStatus.COMPLETED, SessionStatus.ERROR)
# A follower that missed more reads the next ones after these.
MOST_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that is to be kept: what, in which session, by whom."""

    kind: EventKind
    session_id: uuid.UUID
    user_id: uuid.UUID
    text: str | None = None


def channel_of(session_id: uuid.UUID) -> str:
    """The channel that says what happens in a session."""
    return f"session:{session_id}"


async def append(uow: UnitOfWork, happened: Happened) -> Event:
    """Keep an event, and say it to the room when this commits.

    A message needs an active session and a member who may speak, as they are now. Raises
    `NotFoundError`, `ConflictError`, `PermissionError`.
    """
    locked = select(Session).where(Session.id == happened.session_id)
    session = await uow.session.scalar(
        locked.with_for_update(key_share=True).execution_options(populate_existing=True)
    )
    user = await uow.session.get(User, happened.user_id, populate_existing=True)
    if session is None or user is None:
        raise NotFoundError("no such session")
    if happened.kind is EventKind.MESSAGE:
        _check_may_speak(session, user)
    row = SessionEvent(
        organization_id=session.organization_id,
        session_id=session.id,
        position=await _next_position(uow.session, session.id),
        kind=happened.kind,
        user_id=user.id,
        text=happened.text,
    )
    uow.add(row)
    await uow.flush()
    event = _event(row, user.full_name, user.email)
    uow.publish(channel_of(session.id), event.model_dump_json(), position=row.position)
    return event


async def read_after(
    session: AsyncSession, session_id: uuid.UUID, position: int, *, limit: int = MOST_AT_ONCE
) -> list[Event]:
    """The events after a position, in order."""
    found = await session.execute(
        _events(session_id)
        .where(SessionEvent.position > position)
        .order_by(SessionEvent.position)
        .limit(limit)
    )
    return [_event(row, full_name, email) for row, full_name, email in found]


async def read_last(session: AsyncSession, session_id: uuid.UUID, count: int) -> list[Event]:
    """The last events, in order."""
    found = await session.execute(
        _events(session_id).order_by(SessionEvent.position.desc()).limit(count)
    )
    return [_event(row, full_name, email) for row, full_name, email in reversed(found.all())]


async def last_position(session: AsyncSession, session_id: uuid.UUID) -> int:
    """The position of the last event; 0 before the first."""
    return await _next_position(session, session_id) - 1


def numbered(event: Event) -> Numbered:
    """As it is said on the channel."""
    return Numbered(event.position, event.model_dump_json())


def _check_may_speak(session: Session, user: User) -> None:
    if not user.is_active or not Role(user.role).includes(Role.MEMBER):
        raise PermissionError("a viewer reads, and says nothing")
    if session.status != SessionStatus.ACTIVE:
        raise ConflictError(f"the session is {session.status}, and messages need an active one")


async def _next_position(session: AsyncSession, session_id: uuid.UUID) -> int:
    highest = select(func.coalesce(func.max(SessionEvent.position), 0) + 1)
    found = await session.scalar(highest.where(SessionEvent.session_id == session_id))
    return int(found or 1)


def _events(session_id: uuid.UUID) -> "Select[SessionEvent, str | None, str]":
    return (
        select(SessionEvent, User.full_name, User.email)
        .join(User, User.id == SessionEvent.user_id)
        .where(SessionEvent.session_id == session_id)
    )


def _event(row: SessionEvent, full_name: str | None, email: str) -> Event:
    return Event(
        type=EventKind(row.kind),
        position=row.position,
        member=Member(id=row.user_id, name=full_name or email),
        text=row.text,
        at=row.created_at,
    )
