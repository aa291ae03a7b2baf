"""The rows of pdf_translator, one file for each thing that a user would name."""

from systems.pdf_translator.models.base import Base
from systems.pdf_translator.models.block import DocumentBlock
from systems.pdf_translator.models.glossary import GlossaryEntry
from systems.pdf_translator.models.translation import Translation, TranslationStatus
from systems.pdf_translator.models.user import User

__all__ = [
    "Base",
    "DocumentBlock",
    "GlossaryEntry",
    "Translation",
    "TranslationStatus",
    "User",
]
