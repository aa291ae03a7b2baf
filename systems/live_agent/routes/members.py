"""/members: listed by everybody, added and changed by admins."""

import logging
import uuid
from typing import Annotated

from fastapi import BackgroundTasks, Depends, Query

from bedplate.errors import RedisUnreachableError
from bedplate.fastapi import DepLayer, DepUnitOfWork, Problem, Router
from bedplate.layer import DataLayer
from systems.live_agent.models import Role, User
from systems.live_agent.repositories import Organizations, Users
from systems.live_agent.routes.identity import (
    BROWSERS,
    DepAdmin,
    DepPasswords,
    DepViewer,
    DepWebSession,
    load_user,
    require_role,
)
from systems.live_agent.schemas import MemberChange, NewMember, PageOut, UserOut

log = logging.getLogger("live_agent.members")

router = Router(prefix="/members", tags=["members"], gate=BROWSERS.require)


async def hash_for(
    wanted: NewMember, web_session: DepWebSession, layer: DepLayer, passwords: DepPasswords
) -> str:
    """The new member's password, hashed for an admin alone, before any transaction waits for it."""
    tenant = web_session.values["organization_id"]
    async with layer.reading(tenant=tenant) as session:
        require_role(await load_user(session, web_session), Role.ADMIN)
    return await passwords.hash(wanted.password)


@router.get("")
async def list_members(
    _user: DepViewer,
    uow: DepUnitOfWork,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageOut[UserOut]:
    """Your organization's members."""
    page = await Users(uow.session).page(cursor=cursor, limit=limit)
    return PageOut(items=[UserOut.model_validate(each) for each in page.items], next=page.next)


@router.post("", status_code=201)
async def add_member(
    wanted: NewMember,
    hashed: Annotated[str, Depends(hash_for)],
    admin: DepAdmin,
    uow: DepUnitOfWork,
) -> UserOut:
    """Add a member. An address that anybody has, here or elsewhere, is a 409."""
    user = User(
        email=wanted.email,
        hashed_password=hashed,
        full_name=wanted.full_name,
        organization_id=admin.organization_id,
        role=wanted.role,
    )
    return UserOut.model_validate(await Users(uow.session).add(user))


@router.patch("/{member_id}")
async def change_member(
    member_id: uuid.UUID,
    wanted: MemberChange,
    admin: DepAdmin,
    uow: DepUnitOfWork,
    layer: DepLayer,
    afterwards: BackgroundTasks,
) -> UserOut:
    """Change a member's role, or lock them out or in. The last active admin stays one."""
    # Of two admins who take the other's role at once, the second waits here, and is one no more.
    await Organizations(uow.session).hold(admin.organization_id)
    await uow.session.refresh(admin)
    require_role(admin, Role.ADMIN)
    users = Users(uow.session)
    user = await users.get(member_id, is_locked=True)
    before = (user.role, user.is_active)
    user.role = wanted.role or user.role
    user.is_active = user.is_active if wanted.is_active is None else wanted.is_active
    if (user.role, user.is_active) == before:
        return UserOut.model_validate(user)
    is_admin = user.role == Role.ADMIN and user.is_active
    if not is_admin and not await users.has_other_admin(user.id):
        raise Problem(409, "An organization keeps one active admin.", code="last_admin")
    await uow.flush()
    afterwards.add_task(_sign_out, layer, str(user.id))
    return UserOut.model_validate(user)


async def _sign_out(layer: DataLayer, user_id: str) -> None:
    """A changed role begins with a new login. Each request asks the row anyway."""
    try:
        await BROWSERS.end_all(layer, user_id)
    except RedisUnreachableError:
        log.warning("The sessions of a changed member stay open", extra={"user_id": user_id})
