"""The HTTP interface of live_agent, one file for each resource."""

from systems.live_agent.routes.accounts import router as accounts_router
from systems.live_agent.routes.live import router as live_router
from systems.live_agent.routes.members import router as members_router
from systems.live_agent.routes.sessions import router as sessions_router

__all__ = ["accounts_router", "live_router", "members_router", "sessions_router"]
