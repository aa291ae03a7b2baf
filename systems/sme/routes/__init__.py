"""The HTTP interface of sme, one file for each resource."""

from systems.sme.routes.evidence import router as evidence_router

__all__ = ["evidence_router"]
