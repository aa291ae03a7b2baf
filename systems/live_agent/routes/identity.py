"""Who asks: the user behind a request, read anew in the transaction of each one.

So a user who is deactivated is out with the next request, and a role counts at once.
"""

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from bedplate.accounts.browser import BrowserSessions, not_signed_in
from bedplate.accounts.passwords import Passwords
from bedplate.accounts.sessions import WebSession
from bedplate.fastapi import DepUnitOfWork, Identity, Problem, get_layer
from systems.live_agent.models import Role, User
from systems.live_agent.repositories import Users

BROWSERS = BrowserSessions("live_agent")
ORGANIZATION = "organization_id"

DepWebSession = Annotated[WebSession, Depends(BROWSERS.require)]


async def identity_of(connection: HTTPConnection) -> Identity:
    """The tenant is the organization: row-level security shows a transaction nothing else."""
    session = await BROWSERS.find(connection, await get_layer(connection))
    if session is None:
        return Identity()
    return Identity(tenant=session.values[ORGANIZATION], actor=session.user_id)


async def load_user(session: AsyncSession, web_session: WebSession) -> User:
    """The user of a web session. Raises a 401 when they are deactivated or gone."""
    user = await Users(session).find(uuid.UUID(web_session.user_id))
    if user is None or not user.is_active:
        raise not_signed_in()
    return user


def require_role(user: User, role: Role) -> None:
    """Raise a 403 for who may not do what `role` may."""
    if not Role(user.role).includes(role):
        raise Problem(403, f"This is for {role}s, and you are a {user.role}.", code="role_missing")


def _at_least(role: Role) -> Callable[[DepWebSession, DepUnitOfWork], Awaitable[User]]:
    async def check(web_session: DepWebSession, uow: DepUnitOfWork) -> User:
        user = await load_user(uow.session, web_session)
        require_role(user, role)
        return user

    return check


async def get_passwords(connection: HTTPConnection) -> Passwords:
    """What hashes and compares: one for the process."""
    passwords: Passwords = connection.app.state.passwords
    return passwords


DepPasswords = Annotated[Passwords, Depends(get_passwords)]
DepViewer = Annotated[User, Depends(_at_least(Role.VIEWER))]
DepMember = Annotated[User, Depends(_at_least(Role.MEMBER))]
DepAdmin = Annotated[User, Depends(_at_least(Role.ADMIN))]
