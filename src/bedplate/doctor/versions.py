"""Whether PostgreSQL and the extensions that a system names are new enough.

Reads only, on one connection past any pooler. Called by `bedplate doctor`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from bedplate.rows.database import Database

POSTGRES = "PostgreSQL"
# The oldest that migrations and tests run on.
LEAST_POSTGRES = "16"

SERVER_VERSION = "SELECT current_setting('server_version')"
# What is enabled in this database, and what the server would enable.
EXTENSION = """
SELECT (SELECT extversion FROM pg_extension WHERE extname = $1) AS enabled,
       (SELECT default_version FROM pg_available_extensions WHERE name = $1) AS offered
"""


@dataclass(frozen=True)
class Version:
    """What is there and what is needed; `hint` says what to do where that is not met."""

    what: str
    found: str | None
    needed: str
    hint: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is there, and not older."""
        return self.found is not None and _numbers(self.found) >= _numbers(self.needed)


async def read_versions(database: Database, extensions: Mapping[str, str]) -> list[Version]:
    """The server's version and those of `extensions`, which are named with their least.

    Raises `DatabaseUnreachableError`.
    """
    connection = await database.connect()
    try:
        async with database.translated():
            server: str = await connection.fetchval(SERVER_VERSION)
            found = [
                Version(
                    POSTGRES,
                    server.split()[0],
                    LEAST_POSTGRES,
                    f"Upgrade the server to PostgreSQL {LEAST_POSTGRES} or later.",
                )
            ]
            for name, least in extensions.items():
                found.append(await _read_extension(connection, name, least))
    finally:
        connection.terminate()
    return found


async def _read_extension(connection: asyncpg.Connection, name: str, least: str) -> Version:
    row = await connection.fetchrow(EXTENSION, name)
    enabled, offered = row["enabled"], row["offered"]
    if enabled is None:
        hint = (
            "Enable it: bedplate migrate"
            if offered
            else f"Install it on the server, version {least} or later."
        )
    elif offered and _numbers(offered) >= _numbers(least):
        hint = f"ALTER EXTENSION {name} UPDATE"
    else:
        hint = f"Install {least} or later on the server, then: ALTER EXTENSION {name} UPDATE"
    return Version(name, enabled, least, hint)


def _numbers(version: str) -> tuple[int, ...]:
    """`18.6` as numbers; `19beta1` counts as 19."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
