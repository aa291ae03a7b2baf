"""Whom rows belong to: a signed-in user, or an anonymous session."""

import uuid
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ColumnElement, or_

from bedplate.errors import BedplateError
from bedplate.fastapi import digest
from systems.librilabs.models.base import Owned


class OwnerMissingError(BedplateError, ValueError):
    """A row was to be read or written for nobody."""

    code = "owner_missing"


@dataclass(frozen=True)
class Reader:
    """A user, a session, or a user in a session: what either owns is the reader's."""

    user_id: uuid.UUID | None = None
    session_id: str | None = None

    @classmethod
    def of_token(cls, token: str) -> Self:
        """The anonymous reader who holds this token; the database knows only its SHA-256."""
        return cls(session_id=digest(token))

    def owns(self, table: type[Owned]) -> ColumnElement[bool]:
        """The condition that every query for this reader carries. Raises `OwnerMissingError`."""
        self._require()
        conditions = []
        if self.user_id is not None:
            conditions.append(table.user_id == self.user_id)
        if self.session_id is not None:
            conditions.append(table.session_id == self.session_id)
        return or_(*conditions)

    def columns(self) -> dict[str, Any]:
        """The owner's columns of a row that this reader makes. Raises `OwnerMissingError`."""
        self._require()
        if self.user_id is not None:
            return {"user_id": self.user_id, "session_id": None}
        return {"user_id": None, "session_id": self.session_id}

    def _require(self) -> None:
        if self.user_id is None and not self.session_id:
            raise OwnerMissingError(
                "a row of librilabs needs an owner, and the reader has neither user nor session",
                hint="Give the reader a user_id or a session_id.",
            )
