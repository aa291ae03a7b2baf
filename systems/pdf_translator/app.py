"""pdf_translator as bedplate finds it: `system`, and the application that is mounted there."""

from pathlib import Path

from fastapi import FastAPI

from bedplate.fastapi import SameOrigin
from bedplate.fastapi import create_app as create_bedplate_app
from bedplate.layer import DataLayer
from bedplate.system import System
from systems.pdf_translator.models import Base
from systems.pdf_translator.tasks import translate_pdf


def create_app(layer: DataLayer) -> FastAPI:
    """The HTTP interface on an open or yet unopened layer. Raises `SettingsError`."""
    app = create_bedplate_app(layer, title=system.title)
    app.add_middleware(SameOrigin)
    return app


system = System(
    name="pdf_translator",
    title="pdf_translator: PDF files, translated block by block",
    metadata=Base.metadata,
    create_app=create_app,
    migrations=Path(__file__).parent,
    tasks=(translate_pdf,),
)
