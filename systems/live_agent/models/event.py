"""What happened in a session, one row for each: the history that its live feed is a copy of."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from bedplate.rows.models import UUIDKey
from bedplate.rows.policies import TenantOwned
from systems.live_agent.models.base import Base

LONGEST_TEXT = 4000


class EventKind(StrEnum):
    """What happened."""

    START = "start"
    JOIN = "join"
    MESSAGE = "message"
    LEAVE = "leave"
    END = "end"


class SessionEvent(UUIDKey, TenantOwned, Base):
    """One event. Positions count up from 1 in each session, in the order of the commits."""

    __tablename__ = "session_events"
    __table_args__ = (
        CheckConstraint("kind IN ('start', 'join', 'message', 'leave', 'end')", name="kind"),
        CheckConstraint("position > 0", name="position"),
        CheckConstraint("(kind = 'message') = (text IS NOT NULL)", name="text"),
        CheckConstraint(f"length(text) BETWEEN 1 AND {LONGEST_TEXT}", name="text_length"),
        # By both columns: a foreign key is checked past all policies.
        ForeignKeyConstraint(
            ["organization_id", "session_id"],
            ["sessions.organization_id", "sessions.id"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["organization_id", "user_id"], ["users.organization_id", "users.id"]),
        UniqueConstraint("organization_id", "session_id", "position"),
        Index(None, "organization_id", "user_id"),
    )
    tenant_column = "organization_id"

    organization_id: Mapped[uuid.UUID]
    session_id: Mapped[uuid.UUID]
    position: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(20))
    user_id: Mapped[uuid.UUID]
    text: Mapped[str | None] = mapped_column(Text)
    # Not now(): a transaction that waited for its position would be older than the one before.
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
