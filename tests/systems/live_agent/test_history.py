"""The history of a session: numbered in order, of one organization, said with its commit."""

import asyncio
import uuid
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from bedplate.cache.channels import LIVE
from bedplate.errors import ConflictError, NotFoundError
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from systems.live_agent.live import history
from systems.live_agent.live.history import Happened, channel_of
from systems.live_agent.live.wire import Event
from systems.live_agent.models import (
    EventKind,
    Organization,
    Role,
    Session,
    SessionEvent,
    SessionStatus,
    User,
)
from tests.systems.alembic import alembic
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "live_agent"


@dataclass(frozen=True)
class Made:
    """An organization with a member, a viewer and an active session."""

    organization_id: uuid.UUID
    member_id: uuid.UUID
    viewer_id: uuid.UUID
    session_id: uuid.UUID

    @property
    def tenant(self) -> str:
        """As transactions name it."""
        return str(self.organization_id)


async def make(layer: DataLayer, name: str, status: SessionStatus = SessionStatus.ACTIVE) -> Made:
    """As the owner, whom no policy binds."""
    organization = Organization(id=uuid.uuid4(), name=name)
    member, viewer = (
        User(
            id=uuid.uuid4(),
            email=f"{role}@{name}.example",
            hashed_password="-",
            organization_id=organization.id,
            role=role,
        )
        for role in (Role.MEMBER, Role.VIEWER)
    )
    session = Session(id=uuid.uuid4(), organization_id=organization.id, room_name=f"room of {name}")
    async with layer.transaction(tenant=str(organization.id)) as uow:
        uow.add(organization)
        await uow.flush()
        for row in (member, viewer, session):
            uow.add(row)
        await uow.flush()
        if status is not SessionStatus.PENDING:
            session.status = SessionStatus.ACTIVE
            await uow.flush()
            session.status = status
    return Made(organization.id, member.id, viewer.id, session.id)


async def append(layer: DataLayer, made: Made, said: str) -> Event:
    """A message of the member, committed."""
    async with layer.transaction(tenant=made.tenant) as uow:
        happened = Happened(EventKind.MESSAGE, made.session_id, made.member_id, said)
        return await history.append(uow, happened)


async def test_A19_events_at_once_are_numbered_without_gap_and_kept(layer: DataLayer) -> None:
    """Ten processes' worth of members: each takes the next position, and none takes another's."""
    made = await make(layer, "acme")
    events = await asyncio.gather(*(append(layer, made, f"text {index}") for index in range(10)))
    assert sorted(each.position for each in events) == list(range(1, 11))
    async with layer.reading(tenant=made.tenant) as session:
        kept = await history.read_after(session, made.session_id, 0)
        assert kept == sorted(events, key=lambda each: each.position)
        assert await history.read_last(session, made.session_id, 3) == kept[-3:]
        assert await history.last_position(session, made.session_id) == 10


async def test_A19_an_event_is_said_on_the_sessions_channel_when_it_commits(
    layer: DataLayer,
) -> None:
    """With its position, as it is kept; one that rolls back is not said, and leaves no gap."""
    made = await make(layer, "acme")
    async with layer.channels.subscribe(channel_of(made.session_id), tenant=made.tenant) as heard:
        assert await heard.next() == LIVE
        with pytest.raises(LookupError):
            async with layer.transaction(tenant=made.tenant) as uow:
                await history.append(uow, Happened(EventKind.JOIN, made.session_id, made.member_id))
                raise LookupError
        event = await append(layer, made, "said")
        async with asyncio.timeout(30):
            assert await heard.next() == f"1 {event.model_dump_json()}"


async def test_A19_a_viewer_a_deactivated_member_and_an_inactive_session_take_no_message(
    layer: DataLayer,
) -> None:
    """By what holds when it is said, whatever held when the member came in."""
    made = await make(layer, "acme")
    viewers = Made(made.organization_id, made.viewer_id, made.viewer_id, made.session_id)
    with pytest.raises(PermissionError):
        await append(layer, viewers, "let me")
    async with layer.transaction(tenant=made.tenant) as uow:
        (await uow.session.get_one(User, made.member_id)).is_active = False
    with pytest.raises(PermissionError):
        await append(layer, made, "still here")
    for status in (SessionStatus.PENDING, SessionStatus.COMPLETED, SessionStatus.ERROR):
        other = await make(layer, f"other-{status}", status)
        with pytest.raises(ConflictError, match=status):
            await append(layer, other, "too early, or too late")


async def test_A17_another_organizations_history_is_not_there(layer: DataLayer) -> None:
    """Not to be read, not to be added to, not to be changed: the database sees to it."""
    made, other = await make(layer, "acme"), await make(layer, "other")
    await append(layer, made, "ours")
    theirs = Made(made.organization_id, made.member_id, made.viewer_id, other.session_id)
    with pytest.raises(NotFoundError):
        await append(layer, theirs, "into their room")
    count = select(func.count()).select_from(SessionEvent)
    async with layer.reading(tenant=other.tenant) as session:
        assert await session.scalar(count) == 0
        assert await history.read_after(session, made.session_id, 0) == []
    async with layer.reading() as session:
        assert await session.scalar(count) == 0
    async with layer.transaction(tenant=other.tenant) as uow:
        changed = await uow.session.execute(text("UPDATE session_events SET text = 'theirs'"))
        assert changed.rowcount == 0  # type: ignore[attr-defined]  # of a cursor's result


@pytest.mark.parametrize("names", ["session", "user", "both, as theirs"])
async def test_A17_no_event_can_name_another_organizations_rows(
    layer: DataLayer, names: str
) -> None:
    """A foreign key is checked past all policies, so it names the organization, too."""
    made, other = await make(layer, "acme"), await make(layer, "other")
    foreign = {
        "session": (made.organization_id, other.session_id, made.member_id),
        "user": (made.organization_id, made.session_id, other.member_id),
        "both, as theirs": (other.organization_id, other.session_id, other.member_id),
    }
    organization_id, session_id, user_id = foreign[names]
    row = SessionEvent(
        organization_id=organization_id,
        session_id=session_id,
        user_id=user_id,
        position=1,
        kind=EventKind.JOIN,
    )
    with pytest.raises((IntegrityError, ProgrammingError), match=r"foreign key|row-level security"):
        async with layer.transaction(tenant=made.tenant) as uow:
            uow.add(row)


async def test_A10_autogenerate_on_unchanged_models_finds_nothing(
    bedplate_worker_database: ScratchDatabase,
) -> None:
    """The history's migration and its model are one."""
    checked = await alembic(FOLDER, bedplate_worker_database, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
