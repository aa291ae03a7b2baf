"""pdf_translator as bedplate finds it: `system`, and the application that is mounted there."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.fastapi import BodyLimit, SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.health import probe_worker
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.pdf_translator.accounts import sign_in
from systems.pdf_translator.models import Base
from systems.pdf_translator.routes import (
    glossary_router,
    me_router,
    results_router,
    translations_router,
)
from systems.pdf_translator.routes.translations import MAX_BODY_BYTES
from systems.pdf_translator.seeds import seed
from systems.pdf_translator.settings import GoogleSettings, PdfTranslatorSettings
from systems.pdf_translator.tasks import expire, translate_pdf

DESCRIPTION = """\
Sign in with Google, upload a PDF, get it back in another language, each block where it stood.
What your glossary says of a term counts. The files are gone 24 hours later.
"""


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    # Read here as well as where they are used: a wrong variable stops the start, not a request.
    PdfTranslatorSettings.load()
    google = GoogleSettings.load()
    if layer.settings.env == "production":
        google.check_production()
    app = create_bedplate_app(
        layer,
        identify=sign_in.identify,
        # Nobody is signed in without Redis, and nothing is uploaded without S3.
        needed=("redis", "s3"),
        probes={"worker": probe_worker},
        title=system.title,
        description=DESCRIPTION,
    )
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(SameOrigin)
    for router in (
        sign_in.router,
        me_router,
        translations_router,
        results_router,
        glossary_router,
    ):
        app.include_router(router)
    return app


system = System(
    name="pdf_translator",
    title="pdf_translator: PDF files, translated block by block",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
    tasks=(translate_pdf, expire),
    seed=seed,
)
