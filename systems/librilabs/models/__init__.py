"""The rows of librilabs, one file for each thing that a reader would name."""

from systems.librilabs.models.base import Base
from systems.librilabs.models.document import MAX_FILE_BYTES, Document, DocumentPassage
from systems.librilabs.models.translation import Translation, TranslationChunk, TranslationStatus
from systems.librilabs.models.user import User

__all__ = [
    "MAX_FILE_BYTES",
    "Base",
    "Document",
    "DocumentPassage",
    "Translation",
    "TranslationChunk",
    "TranslationStatus",
    "User",
]
