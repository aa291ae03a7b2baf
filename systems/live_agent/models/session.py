"""Live sessions: rooms, and the life that each has once.

A trigger keeps the life cycle, whoever updates: pending, active, then completed or error. It sets
`started_at` and `ended_at`, and refuses every other step.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import (
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bedplate.rows.models import UUIDKey
from bedplate.rows.policies import TenantOwned
from bedplate.rows.triggers import Function, Trigger, declare_function, declare_trigger
from systems.live_agent.models.base import Base

if TYPE_CHECKING:
    from systems.live_agent.models.organization import Organization

LIFE_CYCLE = Function(
    name="keep_session_life_cycle",
    body="""
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.status <> OLD.status
           AND (OLD.status, NEW.status) NOT IN
               (('pending', 'active'), ('active', 'completed'), ('active', 'error')) THEN
            RAISE EXCEPTION 'a session that is % cannot become %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'session_life_cycle';
        END IF;
        IF NEW.status <> 'pending' AND NEW.started_at IS NULL THEN
            NEW.started_at = clock_timestamp();
        END IF;
        IF NEW.status IN ('completed', 'error') AND NEW.ended_at IS NULL THEN
            NEW.ended_at = clock_timestamp();
        END IF;
        RETURN NEW;
    END;
    """,
)


class SessionStatus(StrEnum):
    """Where a session stands."""

    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    ERROR = "error"


class Session(UUIDKey, TenantOwned, Base):
    """A room in which members meet the agent, by a name that no other session of any has."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'active', 'completed', 'error')", name="status"),
        CheckConstraint("(started_at IS NULL) = (status = 'pending')", name="started_at"),
        CheckConstraint(
            "(ended_at IS NULL) = (status IN ('pending', 'active')) AND ended_at >= started_at",
            name="ended_at",
        ),
        UniqueConstraint("organization_id", "id"),
        Index(None, "organization_id", "created_at", "id"),
    )
    # What the trigger sets comes back with the statement that had it set.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - the base has it as an instance's
    tenant_column = "organization_id"

    organization_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE")
    )
    room_name: Mapped[str] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(
        String(20), default=SessionStatus.PENDING, server_default="pending"
    )
    started_at: Mapped[datetime | None] = mapped_column(server_onupdate=FetchedValue())
    ended_at: Mapped[datetime | None] = mapped_column(server_onupdate=FetchedValue())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    organization: Mapped["Organization"] = relationship(back_populates="sessions", lazy="raise")


declare_function(Base.metadata, LIFE_CYCLE)
declare_trigger(
    Base.metadata,
    Trigger("sessions_life_cycle", "sessions", LIFE_CYCLE.name, "BEFORE INSERT OR UPDATE"),
)
