"""Migrating from a program: `bedplate migrate`, the start of a process, a test's template.

`upgrade` first asks on one connection whether there is anything to do, without importing Alembic;
any number of replicas may call it at once. Raises `MigrationError`, `MigrationLockError`,
`DatabaseUnreachableError`.
"""

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bedplate.errors import MigrationError
from bedplate.migrations.grants import is_granted
from bedplate.migrations.layer_schema import layer_head, layer_revisions, read_applied
from bedplate.migrations.lock import MigrationLock
from bedplate.migrations.revisions import INI, History
from bedplate.migrations.steps import (
    LOCK_NOT_AVAILABLE,
    TIMEOUT,
    Applied,
    Journal,
    migrate,
    migration_database,
    sqlstate_of,
)
from bedplate.settings import Settings
from bedplate.system import System

HAS_SYSTEM_VERSION = "SELECT to_regclass('public.alembic_version') IS NOT NULL"
READ_SYSTEM_VERSION = "SELECT version_num FROM public.alembic_version ORDER BY version_num"


@dataclass(frozen=True)
class UpgradeResult:
    """What one run did. `waited` is the time that another process held the lock."""

    applied: tuple[str, ...]
    head: str | None
    waited: timedelta


@dataclass(frozen=True)
class MigrationStatus:
    """Where a database is, and what is missing; pending ones of ours are `bedplate:0001`.

    `is_ahead`: a newer release has migrated it, and this one was put back. Nothing is pending then.
    """

    layer: str | None
    layer_head: str
    current: tuple[str, ...]
    heads: tuple[str, ...]
    pending: tuple[str, ...]
    is_granted: bool
    is_ahead: bool = False

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return not self.pending and self.is_granted


async def upgrade(
    system: System,
    settings: Settings,
    *,
    timeout: timedelta = TIMEOUT,  # noqa: ASYNC109 - for the lock, not for the whole
    on_step: Callable[[Applied], None] | None = None,
) -> UpgradeResult:
    """Bring a database to the head: the layer's tables, the serving role, the system's tables."""
    found = await status(system, settings)
    head = found.heads[0] if found.heads else None
    if found.is_current:
        return UpgradeResult((), head, timedelta())
    run = None if system.migrations is None or found.is_ahead else "upgrade"
    journal = Journal(on_step)
    waited = await _run(system, settings, run, "heads", timeout, journal)
    return UpgradeResult(tuple(each.revision for each in journal.applied), head, waited)


async def downgrade(
    system: System,
    settings: Settings,
    target: str = "-1",
    *,
    timeout: timedelta = TIMEOUT,  # noqa: ASYNC109 - for the lock, not for the whole
    on_step: Callable[[Applied], None] | None = None,
) -> UpgradeResult:
    """Take the system's revisions back to `target` ("-1", a revision, "base"); never the layer's.

    Rows of dropped tables and columns are lost: it is for the caller to ask first.
    """
    journal = Journal(on_step)
    waited = await _run(system, settings, "downgrade", target, timeout, journal)
    head = (await status(system, settings)).current
    applied = tuple(each.revision for each in journal.applied)
    return UpgradeResult(applied, head[0] if head else None, waited)


def read_history(system: System) -> History:
    """The system's revision files; none when it has no migrations. Raises `MigrationError`."""
    return History({}) if system.migrations is None else History.read(system.migrations)


async def status(
    system: System, settings: Settings, *, history: History | None = None
) -> MigrationStatus:
    """Read the versions and compare them with the files, or with `history`. Creates nothing."""
    history = read_history(system) if history is None else history
    # A single connection; the pool is not opened.
    connection = await migration_database(settings).connect()
    try:
        layer = await read_applied(connection)
        current = await _read_current(connection)
        granted = await is_granted(connection, settings.serving_role())
    finally:
        await connection.close()
    missing = [f"bedplate:{own.number}" for own in layer_revisions() if own.number not in layer]
    return MigrationStatus(
        layer=layer[-1] if layer else None,
        layer_head=layer_head(),
        current=current,
        heads=history.heads,
        pending=(*missing, *(each.number for each in history.pending(current))),
        is_granted=granted,
        is_ahead=history.is_ahead(current),
    )


async def is_current(system: System, settings: Settings) -> bool:
    """Whether the database has every revision that the code knows."""
    return (await status(system, settings)).is_current


async def _read_current(connection: Any) -> tuple[str, ...]:
    if not await connection.fetchval(HAS_SYSTEM_VERSION):
        return ()
    return tuple(row["version_num"] for row in await connection.fetch(READ_SYSTEM_VERSION))


async def _run(
    system: System,
    settings: Settings,
    command: str | None,
    target: str,
    patience: timedelta,
    journal: Journal,
) -> timedelta:
    def run(connection: Connection, lock: MigrationLock) -> None:
        _run_alembic(system, str(command), target, connection, lock, journal)

    async with migration_database(settings) as database:
        try:
            return await migrate(
                database,
                settings.serving_role(),
                run if command else None,
                journal,
                timeout=patience,
                is_relative=target.startswith(("+", "-")),
            )
        except DBAPIError as error:
            raise _failure(system, journal, error) from error


def _run_alembic(
    system: System,
    command: str,
    target: str,
    connection: Connection,
    lock: MigrationLock,
    journal: Journal,
) -> None:
    if system.migrations is None:
        raise MigrationError(f"system {system.name!r} has no migrations")
    # Imported only when there is something to do, see above. `env` registers operations of ours.
    alembic_config = importlib.import_module("alembic.config")
    alembic_command = importlib.import_module("alembic.command")
    config = alembic_config.Config(str(system.migrations / INI), stdout=io.StringIO())
    config.attributes.update(
        bedplate_connection=connection, bedplate_lock=lock, bedplate_journal=journal
    )
    try:
        getattr(alembic_command, command)(config, target)
    except importlib.import_module("alembic.util").CommandError as error:
        raise MigrationError(str(error), hint="See: bedplate migrate status") from error


def _failure(system: System, journal: Journal, error: DBAPIError) -> MigrationError:
    done = journal.applied[-1].revision if journal.applied else "nothing in this run"
    if sqlstate_of(error) == LOCK_NOT_AVAILABLE:
        return MigrationError(
            f"the migration of {system.name} found a table locked until its time was over "
            f"(applied last: {done})",
            hint="Look for long transactions in pg_stat_activity, or give a longer --timeout.",
        )
    return MigrationError(
        f"a revision of {system.name} failed (applied last: {done}): {error.orig}",
        hint="It was rolled back; those before it stay. Correct it and migrate again.",
    )
