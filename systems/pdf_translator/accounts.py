"""Who asks: the sign-in with Google, and the user behind a request."""

import uuid
from typing import Annotated

from fastapi import Depends

from bedplate.accounts.openid import Identity, Provider
from bedplate.accounts.routes import SignIn
from bedplate.accounts.sessions import WebSession
from bedplate.unit_of_work import UnitOfWork
from systems.pdf_translator.repositories import Users
from systems.pdf_translator.settings import GoogleSettings


def find_provider() -> Provider | None:
    """Google, where this application is registered with it."""
    return GoogleSettings.load().provider


async def find_user(uow: UnitOfWork, identity: Identity) -> uuid.UUID:
    """The user whom Google vouches for, made at the first sign-in. Raises `SignInRefusedError`."""
    return (await Users(uow.session).sign_in(identity)).id


sign_in = SignIn("pdf_translator", find_provider, find_user)


async def user_of(session: Annotated[WebSession, Depends(sign_in.session)]) -> uuid.UUID:
    """The id of who is signed in; a 401 for who is not."""
    return uuid.UUID(session.user_id)


DepUser = Annotated[uuid.UUID, Depends(user_of)]
