"""The organization of the transaction, and a new one with its first admin."""

import uuid

from sqlalchemy import select

from bedplate.rows.repository import Repository
from systems.live_agent.models import Organization, User


class Organizations(Repository[Organization]):
    """At most one, but for the schema's owner."""

    model = Organization

    async def hold(self, organization_id: uuid.UUID) -> None:
        """Lock the row to the end of the transaction: who changes its admins waits for others."""
        await self.get(organization_id, is_locked=True)

    async def found(self, organization: Organization, admin: User) -> None:
        """A new organization with its admin. Raises `ConflictError` when the address is taken."""
        await self.add(organization)
        self.session.add(admin)
        await self._flush()

    async def find_by_name(self, name: str) -> Organization | None:
        """The first one of this name. For seeds: names are not unique."""
        statement = select(Organization).where(Organization.name == name).order_by(Organization.id)
        return (await self.session.scalars(statement.limit(1))).one_or_none()
