"""The tables of sme; importing this registers all of them."""

from systems.sme.models.base import Base

__all__ = ["Base"]
