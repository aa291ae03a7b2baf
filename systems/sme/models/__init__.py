"""The tables of sme; importing this registers all of them."""

from systems.sme.models.base import Base
from systems.sme.models.evidence import (
    DIMENSIONS,
    MAX_SOURCE,
    MAX_TITLE,
    Evidence,
    EvidenceStatus,
    Passage,
)

__all__ = [
    "DIMENSIONS",
    "MAX_SOURCE",
    "MAX_TITLE",
    "Base",
    "Evidence",
    "EvidenceStatus",
    "Passage",
]
