"""How rows are read and written: the store's repository, and the job's."""

from systems.sme.repositories.evidence import EvidenceRepository, Standing
from systems.sme.repositories.ingestion import Ingestion
from systems.sme.repositories.passages import EvidenceFilter, Passages

__all__ = ["EvidenceFilter", "EvidenceRepository", "Ingestion", "Passages", "Standing"]
