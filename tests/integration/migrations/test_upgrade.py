"""Migrating from a program: what is applied, what is granted, what a failure leaves."""

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from bedplate.errors import MigrationError
from bedplate.migrations import steps
from bedplate.migrations.layer_schema import layer_revisions
from bedplate.migrations.lock import MigrationLock
from bedplate.migrations.upgrade import downgrade, is_current, status, upgrade
from tests.integration.migrations.conftest import SAMPLE, names_of_tables

if TYPE_CHECKING:
    from bedplate.settings import Settings
    from bedplate.system import System

OURS = tuple(each.number for each in layer_revisions())
ALL = (*(f"bedplate:{number}" for number in OURS), "0001", "0002", "0003")
TABLES = [
    "bedplate.direct_queues",
    "bedplate.inbox",
    "bedplate.jobs",
    "bedplate.outbox",
    "bedplate.quarantined_objects",
    "bedplate.schedules",
    "bedplate.stored_files",
    "bedplate.version",
    "public.alembic_version",
    "public.books",
]
APPLIED = "SELECT array_agg(number ORDER BY number) FROM bedplate.version"
FAILING = """\
revision = "0004"
down_revision = "0003"


def upgrade():
    from alembic import op

    op.execute("CREATE TABLE half (id int)")
    op.execute("SELECT 1 / 0")


def downgrade():
    pass
"""


async def test_empty_database_gets_our_tables_and_then_the_systems(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """A system's revision may refer to the layer's tables, so they come first."""
    told: list[str] = []
    result = await upgrade(sample, settings, on_step=lambda step: told.append(step.revision))
    assert result.applied == tuple(told) == ALL
    assert result.head == "0003"
    assert await names_of_tables(owner) == TABLES
    assert await owner.fetchval("SELECT version_num FROM alembic_version") == "0003"
    assert await owner.fetchval(APPLIED) == list(OURS)


async def test_second_run_finds_nothing_to_do(sample: "System", settings: "Settings") -> None:
    """Every start of every replica asks; it must not even wait for the lock."""
    await upgrade(sample, settings)
    async with (
        steps.migration_database(settings) as database,
        MigrationLock(database, timeout=timedelta(seconds=1)),
    ):
        result = await upgrade(sample, settings, timeout=timedelta())
    assert result.applied == ()


async def test_status_lists_what_is_pending_and_creates_nothing(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """Asking must be safe on a database that belongs to somebody else."""
    found = await status(sample, settings)
    assert found.pending == ALL
    assert not await is_current(sample, settings)
    assert await names_of_tables(owner) == []
    await upgrade(sample, settings)
    assert await is_current(sample, settings)


async def test_downgrade_takes_back_the_systems_tables_only(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """Jobs outlive a system's mistake; `-1` is one revision, `base` all of them."""
    await upgrade(sample, settings)
    assert (await downgrade(sample, settings)).applied == ("0003",)
    assert (await status(sample, settings)).current == ("0002",)
    assert (await downgrade(sample, settings, "base")).applied == ("0002", "0001")
    assert "public.books" not in await names_of_tables(owner)
    assert "bedplate.jobs" in await names_of_tables(owner)
    assert (await upgrade(sample, settings)).applied == ALL[len(OURS) :]


@pytest.mark.fault(40, holds="I2", every_run=True)
async def test_fault_40_release_that_was_put_back_starts_on_a_newer_database(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """Rolling back a deploy must not need a downgrade, which loses rows."""
    await upgrade(sample, settings)
    await owner.execute("UPDATE alembic_version SET version_num = '0099'")
    assert (await status(sample, settings)).is_ahead
    assert (await upgrade(sample, settings)).applied == ()


async def test_serving_role_reads_and_writes_rows_and_nothing_else(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """What a request can reach is what an attacker of a request can reach."""
    await upgrade(sample, settings)
    await owner.execute(f'SET ROLE "{settings.serving_role()}"')
    await owner.execute("INSERT INTO books (title) VALUES ('Emma')")
    await owner.execute("UPDATE books SET title = 'Persuasion'")
    await owner.execute("DELETE FROM books")
    await owner.execute("INSERT INTO bedplate.jobs (task, queue) VALUES ('a.b', 'a.default')")
    await owner.execute("INSERT INTO bedplate.outbox (kind, key) VALUES ('invalidate', 'k')")
    await owner.execute("SELECT * FROM alembic_version")
    for forbidden in (
        "UPDATE alembic_version SET version_num = '0001'",
        "DELETE FROM bedplate.jobs",
        "DELETE FROM bedplate.version",
        "CREATE TABLE mine (id int)",
        "DROP TABLE books",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(forbidden)


async def test_right_that_a_revision_took_away_stays_away(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """An append-only table must not become writable with the next deploy."""
    role = settings.serving_role()
    await upgrade(sample, settings)
    await owner.execute(f'REVOKE UPDATE, DELETE ON books FROM "{role}"')
    await downgrade(sample, settings)
    await upgrade(sample, settings)
    assert not await owner.fetchval("SELECT has_table_privilege($1, 'books', 'UPDATE')", role)


async def test_role_that_cannot_be_made_is_explained(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """On a managed server the owner may often not create roles: say what an administrator must."""
    if await owner.fetchval("SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user"):
        pytest.skip("this server's owner may create roles")
    other = settings.model_copy(update={"app_role": "absent_from_every_server"})
    with pytest.raises(MigrationError, match="absent_from_every_server") as refusal:
        await upgrade(sample, other)
    assert 'CREATE ROLE "absent_from_every_server" NOLOGIN NOBYPASSRLS;' in refusal.value.hint
    assert 'GRANT "absent_from_every_server" TO' in refusal.value.hint


async def test_failed_revision_leaves_those_before_it(
    sample: "System", settings: "Settings", owner: Any, tmp_path: Path
) -> None:
    """One transaction a revision: a long history must not be undone by its last step."""
    broken = replace(sample, migrations=_copy(tmp_path))
    (tmp_path / "migrations/versions/0004_fails.py").write_text(FAILING)
    with pytest.raises(MigrationError, match=r"applied last: 0003.*division by zero"):
        await upgrade(broken, settings)
    assert (await status(broken, settings)).current == ("0003",)
    assert "public.half" not in await names_of_tables(owner)


async def test_locked_table_is_tried_again(
    sample: "System", settings: "Settings", owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiting ALTER stops all traffic behind it; giving way and coming back does not."""
    monkeypatch.setattr(steps, "LOCK_TIMEOUT", "SET lock_timeout = '50ms'")
    is_refused = asyncio.Event()
    monkeypatch.setattr(steps.log, "warning", lambda *_, **__: is_refused.set())
    await upgrade(sample, settings)
    await downgrade(sample, settings, "0001")
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("LOCK TABLE books IN ACCESS SHARE MODE")
    migrating = asyncio.create_task(upgrade(sample, settings))
    await asyncio.wait_for(is_refused.wait(), 10)
    await transaction.rollback()
    assert (await migrating).applied == ("0002", "0003")


@pytest.mark.bad_day("A migration that meets a locked table", sees="which revision; where to look")
async def test_table_locked_for_too_long_is_explained(
    sample: "System", settings: "Settings", owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person who deploys must learn that it was a lock, not a wrong revision."""
    monkeypatch.setattr(steps, "LOCK_TIMEOUT", "SET lock_timeout = '50ms'")
    await upgrade(sample, settings)
    await downgrade(sample, settings, "0001")
    async with owner.transaction():
        await owner.execute("LOCK TABLE books IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError, match="locked until its time was over"):
            await upgrade(sample, settings, timeout=timedelta(milliseconds=100))


async def test_invalid_index_in_the_way_is_replaced(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """A killed CREATE INDEX CONCURRENTLY leaves its name taken by an index that nobody reads."""
    await _leave_invalid_index(sample, settings, owner)
    assert (await upgrade(sample, settings)).applied == ("0003",)
    assert await owner.fetchval(IS_VALID)


async def test_invalid_index_that_nobody_makes_again_is_rebuilt(
    sample: "System", settings: "Settings", owner: Any, tmp_path: Path
) -> None:
    """IF NOT EXISTS is content with the name, and would keep it invalid for ever."""
    await _leave_invalid_index(sample, settings, owner)
    lenient = replace(sample, migrations=_copy(tmp_path))
    path = tmp_path / "migrations/versions/0003_title_index.py"
    path.write_text(
        path.read_text().replace("_concurrently=True", "_concurrently=True, if_not_exists=True", 1)
    )
    await upgrade(lenient, settings)
    assert await owner.fetchval(IS_VALID)


IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_books_title'::regclass"


async def _leave_invalid_index(sample: "System", settings: "Settings", owner: Any) -> None:
    await upgrade(sample, settings)
    await downgrade(sample, settings)
    await owner.execute("INSERT INTO books (title) VALUES ('Emma'), ('Emma')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_books_title ON books (title)")
    await owner.execute("DELETE FROM books")
    assert not await owner.fetchval(IS_VALID)


def _copy(folder: Path) -> Path:
    shutil.copytree(SAMPLE, folder, dirs_exist_ok=True)
    return folder
