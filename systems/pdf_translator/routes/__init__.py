"""The HTTP interface of pdf_translator, one file for each resource; the sign-in is the layer's."""

from systems.pdf_translator.routes.glossary import router as glossary_router
from systems.pdf_translator.routes.me import router as me_router
from systems.pdf_translator.routes.results import router as results_router
from systems.pdf_translator.routes.translations import router as translations_router

__all__ = ["glossary_router", "me_router", "results_router", "translations_router"]
