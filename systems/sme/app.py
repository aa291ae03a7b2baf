"""sme as bedplate finds it: `system`, and the application that is mounted at /sme."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.fastapi import SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.sme.models import Base


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    app = create_bedplate_app(layer, title=system.title)
    app.add_middleware(SameOrigin)
    return app


system = System(
    name="sme",
    title="sme: evidence, stored and searched by meaning",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
)
