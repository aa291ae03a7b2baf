"""/sessions/{id}/live: a seat in a session's room, over a WebSocket; and /events, its history.

Who may not come in is answered by HTTP: 401, 404, 409 for a session that has ended. Who is in is
closed with 4401 when the sign-in ends, 4403 when the member is deactivated, 4410 when the session
ends, 1013 when they read too slowly or the room cannot be entered now: then connect anew.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Query, WebSocket

from bedplate.accounts.sessions import WebSession
from bedplate.errors import BedplateError, ConflictError
from bedplate.fastapi import DepLayer, DepUnitOfWork, Problem, Router, Socket, open_socket
from bedplate.fastapi.problems import problem_of
from bedplate.fastapi.sockets import TOO_SLOW
from bedplate.layer import DataLayer
from systems.live_agent.live import history
from systems.live_agent.live.history import ENDED
from systems.live_agent.live.room import Room
from systems.live_agent.live.rooms import Rooms
from systems.live_agent.live.seat import SIGNED_OUT, Seat
from systems.live_agent.live.wire import SENT, Event, Leave, Member, Refused, Say, WhoIsThere
from systems.live_agent.models import SessionStatus
from systems.live_agent.repositories import Sessions
from systems.live_agent.routes.identity import (
    BROWSERS,
    ORGANIZATION,
    DepViewer,
    DepWebSession,
    load_user,
)

router = Router(prefix="/sessions", tags=["live"])


@router.get("/{session_id}/events")
async def list_events(
    session_id: uuid.UUID,
    _user: DepViewer,
    uow: DepUnitOfWork,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="The last position.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Event]:
    """What happened in a session, in order; also of one that has ended."""
    session = await Sessions(uow.session).get(session_id)
    return await history.read_after(uow.session, session.id, after, limit=limit)


@router.websocket("/{session_id}/live")
async def live(
    websocket: WebSocket, session_id: uuid.UUID, web_session: DepWebSession, layer: DepLayer
) -> None:
    """Join a session's room, until the socket is closed."""
    rooms: Rooms = websocket.app.state.rooms
    member, organization_id = await _admit(layer, web_session, session_id)
    async with rooms.counted(member.id), open_socket(websocket) as socket:
        seat = Seat(socket, member)
        async with _while_signed_in(websocket, layer, seat):
            try:
                async with rooms.seated(organization_id, session_id, seat) as room:
                    async for text in socket.texts():
                        await _act(room, seat, socket, text)
            except BedplateError as error:
                _refuse(socket, error)
                socket.close(TOO_SLOW, "the room cannot be entered now: connect anew")


async def _admit(
    layer: DataLayer, web_session: WebSession, session_id: uuid.UUID
) -> tuple[Member, uuid.UUID]:
    """The member who may come in, and their organization."""
    async with layer.reading(tenant=web_session.values[ORGANIZATION]) as session:
        user = await load_user(session, web_session)
        wanted = await Sessions(session).get(session_id)
        if SessionStatus(wanted.status) in ENDED:
            raise Problem(409, f"The session is {wanted.status}.", code="session_ended")
        return Member(id=user.id, name=user.full_name or user.email), user.organization_id


@asynccontextmanager
async def _while_signed_in(
    websocket: WebSocket, layer: DataLayer, seat: Seat
) -> AsyncIterator[None]:
    async def watch() -> None:
        await BROWSERS.until_ended(websocket, layer)
        seat.close(SIGNED_OUT, "you are signed out")

    watching = asyncio.create_task(watch(), name="watch a sign-in")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait((watching,))


async def _act(room: Room, seat: Seat, socket: Socket, text: str) -> None:
    """Do what a browser asks for, or say why not."""
    try:
        sent = SENT.validate_json(text)
    except ValueError:
        detail = 'Send {"type": "message", "text": "…"}, {"type": "presence"} or {"type": "leave"}.'
        socket.send(Refused(code="message_invalid", detail=detail).model_dump_json())
        return
    try:
        match sent:
            case Say():
                await room.say(seat, sent.text)
            case WhoIsThere():
                seat.tell(await room.who_is_there())
            case Leave():
                socket.close(reason="you left")
    except PermissionError as error:
        socket.send(Refused(code="role_missing", detail=str(error)).model_dump_json())
    except BedplateError as error:
        _refuse(socket, error)


def _refuse(socket: Socket, error: BedplateError) -> None:
    problem = problem_of(error)
    code = "session_not_active" if isinstance(error, ConflictError) else problem.code
    socket.send(Refused(code=code, detail=problem.detail).model_dump_json())
