"""The layer's own tables: numbered SQL files, each applied once and recorded in bedplate.version.

They stay outside a system's Alembic tree, so that `alembic heads` shows one head and autogenerate
proposes nothing about them. A file is never changed after a release: a later number alters what
an earlier one made. `jobs/ledger.py` and `delivery/outbox.py` describe the same tables for
queries; a test holds the two equal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = "bedplate"
VERSIONS = Path(__file__).parent / "versions"

HAS_VERSION_TABLE = "SELECT to_regclass('bedplate.version') IS NOT NULL"
READ_VERSIONS = "SELECT number FROM bedplate.version ORDER BY number"
RECORD_VERSION = "INSERT INTO bedplate.version (number, title) VALUES ($1, $2)"
# For a script: a file's number and name are ours and hold no quote.
RECORD_VERSION_TEXT = "INSERT INTO bedplate.version (number, title) VALUES ('{}', '{}');"


@dataclass(frozen=True)
class LayerRevision:
    """One numbered file: `0001_jobs_and_outbox.sql` is number 0001, title "jobs and outbox"."""

    number: str
    title: str
    sql: str


@cache
def layer_revisions() -> tuple[LayerRevision, ...]:
    """Every revision that this version of the layer knows, in order."""
    return tuple(_read(path) for path in sorted(VERSIONS.glob("*.sql")))


def layer_head() -> str:
    """The number of the last revision."""
    return layer_revisions()[-1].number


async def read_applied(connection: Any) -> tuple[str, ...]:
    """The numbers that a database has; none when it never met the layer. Creates nothing."""
    if not await connection.fetchval(HAS_VERSION_TABLE):
        return ()
    return tuple(row["number"] for row in await connection.fetch(READ_VERSIONS))


async def apply_layer(
    connection: Any, *, on_apply: Callable[[LayerRevision], None]
) -> tuple[LayerRevision, ...]:
    """Bring the schema to the head, one transaction a revision. The caller holds the lock.

    A database that is ahead (an older release starts during a roll-back) is left as it is.
    """
    applied = set(await read_applied(connection))
    pending = tuple(each for each in layer_revisions() if each.number not in applied)
    for revision in pending:
        async with connection.transaction():
            await connection.execute(revision.sql)
            await connection.execute(RECORD_VERSION, revision.number, revision.title)
        on_apply(revision)
    return pending


def render_layer() -> str:
    """All revisions as one script, for `alembic upgrade head --sql` on an empty database."""
    parts = ["BEGIN;"]
    for each in layer_revisions():
        parts += [each.sql, RECORD_VERSION_TEXT.format(each.number, each.title)]
    return "\n\n".join([*parts, "COMMIT;"])


def _read(path: Path) -> LayerRevision:
    number, _, title = path.stem.partition("_")
    return LayerRevision(number, title.replace("_", " "), path.read_text(encoding="utf-8").strip())
