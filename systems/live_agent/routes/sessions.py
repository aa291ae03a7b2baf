"""/sessions: rooms that members open, start and end, and that everybody may see."""

import uuid
from typing import Annotated

from fastapi import Query

from bedplate.fastapi import DepUnitOfWork, Router
from systems.live_agent.live import history
from systems.live_agent.live.history import Happened
from systems.live_agent.models import EventKind, Session
from systems.live_agent.repositories import Sessions
from systems.live_agent.routes.identity import BROWSERS, DepMember, DepViewer
from systems.live_agent.schemas import NewSession, PageOut, SessionEnd, SessionOut

router = Router(prefix="/sessions", tags=["sessions"], gate=BROWSERS.require)


@router.get("")
async def list_sessions(
    _user: DepViewer,
    uow: DepUnitOfWork,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageOut[SessionOut]:
    """Your organization's sessions."""
    page = await Sessions(uow.session).page(cursor=cursor, limit=limit)
    return PageOut(items=[SessionOut.model_validate(each) for each in page.items], next=page.next)


@router.post("", status_code=201)
async def open_session(wanted: NewSession, user: DepMember, uow: DepUnitOfWork) -> SessionOut:
    """Open a room. A name that any room has, here or elsewhere, is a 409."""
    session = Session(organization_id=user.organization_id, room_name=wanted.room_name)
    return SessionOut.model_validate(await Sessions(uow.session).add(session))


@router.get("/{session_id}")
async def show_session(session_id: uuid.UUID, _user: DepViewer, uow: DepUnitOfWork) -> SessionOut:
    """One session."""
    return SessionOut.model_validate(await Sessions(uow.session).get(session_id))


@router.post("/{session_id}/start")
async def start_session(session_id: uuid.UUID, user: DepMember, uow: DepUnitOfWork) -> SessionOut:
    """pending becomes active; any other is a 409."""
    session = await Sessions(uow.session).start(session_id)
    await history.append(uow, Happened(EventKind.START, session.id, user.id))
    return SessionOut.model_validate(session)


@router.post("/{session_id}/end")
async def end_session(
    session_id: uuid.UUID,
    user: DepMember,
    uow: DepUnitOfWork,
    wanted: SessionEnd | None = None,
) -> SessionOut:
    """active becomes completed, or error; any other is a 409. Its room is closed."""
    status = (wanted or SessionEnd()).status
    session = await Sessions(uow.session).end(session_id, status)
    await history.append(uow, Happened(EventKind.END, session.id, user.id))
    return SessionOut.model_validate(session)
