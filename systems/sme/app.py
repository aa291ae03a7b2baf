"""sme as bedplate finds it: `system`, and the application that is mounted at /sme."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.fastapi import BodyLimit, SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.sme.intake import MAX_BODY_BYTES
from systems.sme.models import Base
from systems.sme.routes import evidence_router, search_router
from systems.sme.seeds import seed
from systems.sme.settings import SmeSettings
from systems.sme.tasks import ingest, purge, renew

DESCRIPTION = """\
Add evidence, a text or a PDF; ask a question; get the passages that mean the same, with where they
stand. What is deleted can be restored.
"""


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    # Read here as well as where they are used: a wrong variable stops the start, not a request.
    SmeSettings.load()
    app = create_bedplate_app(layer, title=system.title, description=DESCRIPTION)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(SameOrigin)
    app.include_router(evidence_router)
    app.include_router(search_router)
    return app


system = System(
    name="sme",
    title="sme: evidence, stored and searched by meaning",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
    tasks=(ingest, renew, purge),
    seed=seed,
    # With the iterative scan that keeps recall up under filters.
    extensions={"vector": "0.8"},
)
