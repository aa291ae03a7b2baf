"""The rows of pdf_translator, read and written: one class for each table that routes know."""

from systems.pdf_translator.repositories.blocks import Blocks
from systems.pdf_translator.repositories.glossary import GlossaryEntries
from systems.pdf_translator.repositories.translations import ExpiredTranslations, Translations
from systems.pdf_translator.repositories.users import Users

__all__ = ["Blocks", "ExpiredTranslations", "GlossaryEntries", "Translations", "Users"]
