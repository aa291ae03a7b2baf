"""Signed-in readers by their address. The sign-in itself comes with the layer's accounts."""

from sqlalchemy import func

from bedplate.rows.repository import Repository
from systems.librilabs.models import User


class Users(Repository[User]):
    """All users: for the sign-in, not for readers."""

    model = User

    async def find_by_email(self, email: str) -> User | None:
        """The user with this address, however it is capitalised, or None."""
        statement = self.visible().where(func.lower(User.email) == email.strip().lower())
        return (await self.session.scalars(statement.limit(1))).one_or_none()
