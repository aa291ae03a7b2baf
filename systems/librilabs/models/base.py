"""The declarative base, with a MetaData of its own, and the owner that two tables have."""

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bedplate.rows.models import Model, new_metadata


class Base(Model, DeclarativeBase):
    """Base of every model of librilabs."""

    metadata = new_metadata()


class Owned:
    """Belongs to a signed-in user, or to an anonymous session. `OWNER_IS_PRESENT` goes with it."""

    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), sort_order=80
    )
    # The SHA-256 of the session's token in hex, never the token.
    session_id: Mapped[str | None] = mapped_column(String(255), sort_order=81)


def owner_is_present() -> CheckConstraint:
    """A row of nobody would be seen by nobody."""
    return CheckConstraint("user_id IS NOT NULL OR session_id IS NOT NULL", name="owner")
