"""The tables of pdf_translator; importing this registers all of them."""

from systems.pdf_translator.models.base import Base

__all__ = ["Base"]
