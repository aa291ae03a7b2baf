"""Organizations: the tenants. An organization sees itself, and nothing of any other."""

from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import Timestamps, UUIDKey
from bedplate.rows.policies import TenantOwned
from systems.live_agent.models.base import Base

if TYPE_CHECKING:
    from systems.live_agent.models.session import Session
    from systems.live_agent.models.user import User


class Organization(UUIDKey, Timestamps, TenantOwned, Base):
    """Whose members run live sessions."""

    __tablename__ = "organizations"
    tenant_column = "id"

    name: Mapped[str] = mapped_column(String(255))

    users: Mapped[list["User"]] = relationship(
        back_populates="organization", lazy="raise", passive_deletes=True
    )
    sessions: Mapped[list["Session"]] = relationship(
        back_populates="organization", lazy="raise", passive_deletes=True
    )
