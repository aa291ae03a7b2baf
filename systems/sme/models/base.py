"""The declarative base, with a MetaData of its own."""

from sqlalchemy.orm import DeclarativeBase

from bedplate.rows.models import Model, new_metadata


class Base(Model, DeclarativeBase):
    """Base of every model of sme."""

    metadata = new_metadata()
