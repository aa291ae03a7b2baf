"""The HTTP interface of librilabs, one file for each resource."""

from systems.librilabs.routes.documents import router as documents_router
from systems.librilabs.routes.translations import router as translations_router

__all__ = ["documents_router", "translations_router"]
