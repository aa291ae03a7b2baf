"""The members of the transaction's organization."""

import uuid

from sqlalchemy import func, select

from bedplate.rows.repository import Repository
from systems.live_agent.models import Role, User


class Users(Repository[User]):
    """Active or not."""

    model = User

    async def find_by_email(self, email: str) -> User | None:
        """The member with this address, however it is capitalised, or None."""
        statement = self.visible().where(User.email == email.strip().lower())
        return (await self.session.scalars(statement)).one_or_none()

    async def has_other_admin(self, user_id: uuid.UUID) -> bool:
        """Whether somebody else is an active admin."""
        statement = select(func.count()).where(
            User.id != user_id, User.role == Role.ADMIN, User.is_active
        )
        return bool(await self.session.scalar(statement))
