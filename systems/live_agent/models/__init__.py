"""The rows of live_agent, one file for each thing that a member would name."""

from systems.live_agent.models.base import Base
from systems.live_agent.models.event import EventKind, SessionEvent
from systems.live_agent.models.organization import Organization
from systems.live_agent.models.session import Session, SessionStatus
from systems.live_agent.models.user import Role, User

__all__ = [
    "Base",
    "EventKind",
    "Organization",
    "Role",
    "Session",
    "SessionEvent",
    "SessionStatus",
    "User",
]
