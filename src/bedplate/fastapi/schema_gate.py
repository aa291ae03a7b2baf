"""Refuses a system's requests until its database has what the code needs.

Served from an unmigrated database, half of the routes would fail with a 500 and the others store
what the missing revision would have refused. Once the database is current a request costs one
comparison; readiness asks again each time, and closes the gate after a downgrade.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from bedplate.errors import DatabaseUnreachableError, PendingMigrationError
from bedplate.fastapi.problems import problem_of
from bedplate.migrations.readiness import SchemaReadiness


class SchemaGate:
    """ASGI middleware: 503 `migration_pending` while revisions are missing."""

    def __init__(self, app: ASGIApp, schema: SchemaReadiness) -> None:
        self.app = app
        self.schema = schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or say what is missing."""
        if scope["type"] != "lifespan" and not self.schema.is_current:
            try:
                await self.schema.require_current()
            except PendingMigrationError as error:
                has_hint = self.schema.settings.env != "production"
                await problem_of(error, has_hint=has_hint).response()(scope, receive, send)
                return
            except DatabaseUnreachableError:
                # What needs no database is answered; what needs it says so itself.
                pass
        await self.app(scope, receive, send)
