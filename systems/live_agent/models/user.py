"""Users: the members of an organization, and what each may do."""

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from bedplate.rows.models import Timestamps, UUIDKey
from bedplate.rows.policies import TenantOwned
from systems.live_agent.models.base import Base

if TYPE_CHECKING:
    from systems.live_agent.models.organization import Organization


class Role(StrEnum):
    """What a user may do; each may do what those before it may."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class User(UUIDKey, Timestamps, TenantOwned, Base):
    """A member of one organization, known by an address that no other user of any has."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'member', 'viewer')", name="role"),
        # Else two of them could be the same address.
        CheckConstraint("email = lower(email)", name="email"),
        # What names a user names the organization with it: a foreign key is past all policies.
        UniqueConstraint("organization_id", "id"),
        Index(None, "organization_id", "created_at", "id"),
    )
    tenant_column = "organization_id"

    email: Mapped[str] = mapped_column(String(320), unique=True)
    # Read by the login's lookup alone.
    hashed_password: Mapped[str] = mapped_column(
        String(255), deferred=True, deferred_raiseload=True
    )
    full_name: Mapped[str | None] = mapped_column(String(255))
    organization_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE")
    )
    role: Mapped[str] = mapped_column(String(20), default=Role.MEMBER, server_default="member")
    is_active: Mapped[bool] = mapped_column(Boolean, default=True, server_default=true())

    organization: Mapped["Organization"] = relationship(back_populates="users", lazy="raise")

    @validates("email")
    def _lower(self, _key: str, email: str) -> str:
        return email.lower()
