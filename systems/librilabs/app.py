"""librilabs as bedplate finds it: `system`, and the application that is mounted at /librilabs."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.fastapi import BodyLimit, SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.librilabs.models import Base
from systems.librilabs.routes import documents_router, translations_router
from systems.librilabs.routes.identity import identity_of
from systems.librilabs.seeds import seed
from systems.librilabs.settings import LibriLabsSettings
from systems.librilabs.tasks import translate
from systems.librilabs.uploads import MAX_BODY_BYTES

DESCRIPTION = """\
Upload a text, have it translated, watch how far it is, search your library. You are known by a
cookie that your first request is given; whoever has it sees your texts, nobody else does.
"""


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    # Read here as well as where it is used: a wrong variable stops the start, not a request.
    LibriLabsSettings.load()
    app = create_bedplate_app(
        layer, identify=identity_of, title=system.title, description=DESCRIPTION
    )
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(SameOrigin)
    app.include_router(documents_router)
    app.include_router(translations_router)
    return app


system = System(
    name="librilabs",
    title="librilabs: texts, translated and searchable",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
    tasks=(translate,),
    seed=seed,
)
