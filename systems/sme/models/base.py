"""The base model: what every table of sme has."""

from sqlalchemy.orm import DeclarativeBase

from bedplate.rows.models import Model, Timestamps, UUIDKey, new_metadata
from bedplate.rows.soft_delete import SoftDelete


class Base(UUIDKey, Timestamps, SoftDelete, Model, DeclarativeBase):
    """`id`, `created_at`, `updated_at` and `deleted_at`."""

    __abstract__ = True

    metadata = new_metadata()
