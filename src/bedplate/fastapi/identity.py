"""Whose a request is: the tenant and the person that its unit of work runs as.

    async def identify(connection: HTTPConnection) -> Identity:
        claims = read_token(connection.headers["authorization"])
        return Identity(tenant=claims.organisation, actor=claims.subject)

    app = create_app(layer, identify=identify)

Asked once for each unit of work. Without it a request is nobody's, and an Idempotency-Key is kept
apart by the Authorization header.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class Identity:
    """A tenant, and who acts in it. Both are stored with jobs and files: no names, no secrets."""

    tenant: str | None = None
    actor: str | None = None

    @property
    def is_nobody(self) -> bool:
        """Whether neither is known."""
        return self.tenant is None and self.actor is None


Identify = Callable[[HTTPConnection], Awaitable[Identity]]


async def identity_of(connection: HTTPConnection) -> Identity:
    """What the application says of this request."""
    identify: Identify | None = getattr(connection.app.state, "identify", None)
    return Identity() if identify is None else await identify(connection)


def scope_of(connection: HTTPConnection, identity: Identity) -> str:
    """Whose keys these are, as a digest; empty when they are nobody's."""
    authorization = connection.headers.get("authorization")
    if identity.is_nobody and authorization is None:
        return ""
    parts = [identity.tenant, identity.actor]
    if identity.is_nobody:
        parts.append(authorization)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
