"""The HTTP interface of sme, one file for each resource."""

from systems.sme.routes.evidence import router as evidence_router
from systems.sme.routes.search import router as search_router

__all__ = ["evidence_router", "search_router"]
