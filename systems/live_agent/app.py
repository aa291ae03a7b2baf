"""live_agent as bedplate finds it: `system`, and the application that is mounted at /live_agent."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.fastapi import SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.live_agent.models import Base


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    app = create_bedplate_app(layer, title=system.title)
    app.add_middleware(SameOrigin)
    return app


system = System(
    name="live_agent",
    title="live_agent: organizations, their members, and live sessions",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
)
