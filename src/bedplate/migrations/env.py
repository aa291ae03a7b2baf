"""What a system's `env.py` calls: `run(Base.metadata)`, and plain Alembic works.

    from bedplate.migrations import env
    from systems.shop.models import Base

    env.run(Base.metadata)

Commands that write take the migration lock and apply the layer's own revisions first; `current`,
`check` and `revision --autogenerate` create nothing. The database is the one of the variables
(MIGRATION_DATABASE_URL, DATABASE_DIRECT_URL, DATABASE_URL, each with the system's prefix first),
else the running embedded stack's. Called by `upgrade.py` too, which hands over a connection.
"""

import asyncio
import logging
from logging.config import fileConfig
from pathlib import Path
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData

import bedplate.rows.policy_operations
import bedplate.rows.trigger_operations  # noqa: F401 - both register operations with Alembic
from bedplate.errors import BedplateError
from bedplate.migrations import grants
from bedplate.migrations.layer_schema import SCHEMA, render_layer
from bedplate.migrations.lock import MigrationLock
from bedplate.migrations.steps import TIMEOUT, Journal, migrate, migration_database
from bedplate.migrations.target import Target, find_target
from bedplate.settings import Settings

# Keys of Config.attributes, by which `upgrade.py` hands over what it has opened.
CONNECTION = "bedplate_connection"
JOURNAL = "bedplate_journal"
LOCK = "bedplate_lock"


def run(target_metadata: MetaData, *, system: str | None = None) -> None:
    """Run what the Alembic command asks for. `system` is found by the folder of `alembic.ini`."""
    attributes = context.config.attributes
    if CONNECTION in attributes:
        _run_on(attributes[CONNECTION], target_metadata, attributes[LOCK], attributes[JOURNAL])
        return
    try:
        _run_plain(target_metadata, system)
    except BedplateError as error:
        # Alembic prints a CommandError as one line, without a traceback; it would log it, too.
        logging.getLogger("alembic.util.messaging").disabled = True
        message = error.message.rstrip(".")
        raise CommandError(f"{message}. {error.hint}" if error.hint else message) from error


def _run_plain(target_metadata: MetaData, system: str | None) -> None:
    path = context.config.config_file_name
    target = find_target(Path(path).parent if path else Path.cwd(), system)
    if context.is_offline_mode():
        _run_offline(target_metadata, target)
        return
    settings = target.settings()
    if path is not None and context.config.file_config.has_section("loggers"):
        fileConfig(path, disable_existing_loggers=False)
    asyncio.run(run_async_migrations(target_metadata, settings))


async def run_async_migrations(target_metadata: MetaData, settings: Settings) -> None:
    """Alembic's asynchronous pattern: its synchronous code on an asyncpg connection."""
    journal = Journal()
    async with migration_database(settings) as database:
        if not _is_writing():
            async with database.engine.connect() as connection:
                await connection.run_sync(_run_on, target_metadata, None, journal)
            return
        await migrate(
            database,
            settings.serving_role(),
            lambda connection, lock: _run_on(connection, target_metadata, lock, journal),
            journal,
            timeout=TIMEOUT,
            is_relative=_is_relative(),
        )


def _run_on(
    connection: Connection,
    target_metadata: MetaData,
    lock: MigrationLock | None,
    journal: Journal,
) -> None:
    def note(*_: Any, **found: Any) -> None:
        # Inside the revision's transaction: raising here undoes it.
        if lock is not None:
            lock.require_held()
        step: MigrationInfo = found["step"]
        title = getattr(step.up_revision, "doc", "").rstrip(".")
        journal.note(str(step.up_revision_id), title, is_upgrade=step.is_upgrade)

    context.configure(
        connection=connection,
        target_metadata=target_metadata,
        transaction_per_migration=True,
        compare_server_default=True,
        include_name=_includes_name,
        include_object=_includes_object,
        render_item=render_item,
        on_version_apply=note,
        dont_mutate=not _is_writing(),
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_offline(target_metadata: MetaData, target: Target) -> None:
    context.configure(
        dialect_name="postgresql",
        target_metadata=target_metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    # A script that begins later in the history is for a database that has our tables.
    is_from_zero = context.get_starting_revision_argument() is None
    if is_from_zero:
        context.static_output(render_layer())
        context.static_output(grants.render_grants(target.role))
    with context.begin_transaction():
        context.run_migrations()
    if is_from_zero:
        context.static_output(grants.render_protection(target.role))


def _includes_name(name: str | None, kind: str, _parents: Any) -> bool:
    return not (kind == "schema" and name == SCHEMA)


def _includes_object(
    thing: Any, _name: str | None, _kind: str, _is_reflected: bool, _other: Any
) -> bool:
    table = getattr(thing, "table", thing)
    return getattr(table, "schema", None) != SCHEMA


def render_item(kind: str, thing: Any, generating: AutogenContext) -> Literal[False]:
    """Have a generated revision import the layer's own types; Alembic writes the rest."""
    module = type(thing).__module__
    if kind == "type" and module.startswith("bedplate."):
        generating.imports.add(f"import {module}")
    return False


def _is_writing() -> bool:
    """Upgrade, downgrade and stamp have a destination; the other commands only read."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    except CommandError:
        # A relative or unknown destination: Alembic itself says what is wrong with it.
        return True
    return True


def _is_relative() -> bool:
    """Whether the destination counts from where the database is: `+1`, `-2`."""
    options = context.config.cmd_opts
    return str(getattr(options, "revision", "")).startswith(("+", "-"))
