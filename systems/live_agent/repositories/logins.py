"""The one lookup that crosses organizations: whose an address is, before anybody is known.

A function of the schema's owner does it (revision 0001), and tells no more than a login needs.
"""

import uuid
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

FIND_LOGIN = text(
    "SELECT user_id, hashed_password, organization_id, is_active FROM find_login(:email)"
)


@dataclass(frozen=True, slots=True)
class Login:
    """Who has an address."""

    user_id: uuid.UUID
    hashed_password: str = field(repr=False)
    organization_id: uuid.UUID
    is_active: bool


async def find_login(session: AsyncSession, email: str) -> Login | None:
    """Who has this address, in whichever organization, or None."""
    found = (await session.execute(FIND_LOGIN, {"email": email})).one_or_none()
    return None if found is None else Login(*found)
