"""live_agent as bedplate finds it: `system`, and the application that is mounted at /live_agent."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.accounts.passwords import Passwords
from bedplate.fastapi import BodyLimit, SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.live_agent.live.rooms import Rooms
from systems.live_agent.models import Base
from systems.live_agent.routes import (
    accounts_router,
    live_router,
    members_router,
    sessions_router,
)
from systems.live_agent.routes.identity import identity_of
from systems.live_agent.seeds import seed
from systems.live_agent.settings import LiveAgentSettings

# The longest form, a login with each of its characters escaped, has a quarter of it.
MAX_BODY_BYTES = 64 * 1024

DESCRIPTION = """\
Sign an organization up, add its members, open live sessions. You are known by a cookie that the
login gives; you see what is your organization's, and nothing else.
"""


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    settings = LiveAgentSettings.load()
    if layer.settings.env == "production":
        settings.check_production()
    app = create_bedplate_app(
        layer, identify=identity_of, title=system.title, description=DESCRIPTION
    )
    app.state.passwords = Passwords(rounds=settings.bcrypt_rounds)
    app.state.rooms = Rooms(layer)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(SameOrigin)
    app.include_router(accounts_router)
    app.include_router(members_router)
    app.include_router(sessions_router)
    app.include_router(live_router)
    return app


system = System(
    name="live_agent",
    title="live_agent: organizations, their members, and live sessions",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
    seed=seed,
)
