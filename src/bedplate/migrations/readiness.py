"""Whether a database has every revision that the code knows: asked before and while it serves.

Called by the root application, which refuses requests meanwhile, by its readiness, and by
`bedplate relay` and `bedplate worker`, which wait. A database that is ahead of the code is taken:
a release that was put back must serve.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from bedplate.errors import DatabaseUnreachableError, PendingMigrationError
from bedplate.migrations.revisions import History
from bedplate.migrations.upgrade import read_history, status
from bedplate.settings import Settings
from bedplate.system import System

log = logging.getLogger("bedplate.migrations")

# Who asks within this of the last answer gets it again: requests must not use up connections.
FRESH = timedelta(seconds=1)
LOOK_AGAIN = timedelta(milliseconds=500)


class SchemaReadiness:
    """One system's database against its revision files, which are read once."""

    def __init__(self, system: System, settings: Settings) -> None:
        self.system = system
        self.settings = settings
        self.is_current = False
        self._history: History | None = None
        self._lock = asyncio.Lock()
        self._pending: PendingMigrationError | None = None
        self._fresh_until = 0.0

    async def require_current(self) -> None:
        """Raise `PendingMigrationError` when the database is behind the code.

        Also `DatabaseUnreachableError`, and `MigrationError` on files that cannot be read.
        """
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._pending = await self._look()
                self.is_current = self._pending is None
                self._fresh_until = time.monotonic() + FRESH.total_seconds()
            if self._pending is not None:
                raise self._pending.with_traceback(None)

    async def _look(self) -> PendingMigrationError | None:
        if self._history is None:
            self._history = read_history(self.system)
        found = await status(self.system, self.settings, history=self._history)
        if found.is_current:
            return None
        missing = ", ".join(found.pending) or "the serving role's rights"
        return PendingMigrationError(
            f"the database of {self.system.name} is behind the code: {missing} is missing",
            hint="Try: bedplate migrate (on a managed database: bedplate migrate --yes)",
            system=self.system.name,
            pending=found.pending,
        )


async def wait_until_current(schemas: Sequence[SchemaReadiness], limit: timedelta) -> None:
    """Return once every database is migrated; another process does it.

    Raises `PendingMigrationError` or `DatabaseUnreachableError`, whichever it was, after `limit`.
    """
    deadline = time.monotonic() + limit.total_seconds()
    for schema in schemas:
        await _wait(schema, deadline)


async def _wait(schema: SchemaReadiness, deadline: float) -> None:
    is_said = False
    while True:
        try:
            await schema.require_current()
        except (PendingMigrationError, DatabaseUnreachableError) as error:
            if not is_said:
                is_said = True
                log.warning("Waiting: %s. %s", error.message, error.hint)
            if time.monotonic() >= deadline:
                raise
        else:
            return
        await asyncio.sleep(LOOK_AGAIN.total_seconds())
