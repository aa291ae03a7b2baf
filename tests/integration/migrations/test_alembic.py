"""Plain `alembic`, as a person types it in a system's folder."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bedplate.migrations.upgrade import status
from tests.integration.migrations.conftest import SAMPLE, Alembic, names_of_tables
from tests.integration.migrations.sample_system.app import system
from tests.texts import ROOT

if TYPE_CHECKING:
    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.testing.stack import Servers


def test_version_and_single_head(alembic: Alembic) -> None:
    """The layer's own revisions are outside the tree: a second head would break `upgrade head`."""
    assert "alembic" in alembic("--version").stdout
    assert alembic("heads").stdout.split() == ["0003", "(head)"]


async def test_current_and_check_create_nothing(alembic: Alembic, owner: Any) -> None:
    """Asking a database that belongs to somebody else must leave no trace."""
    current = alembic("current")
    assert (current.returncode, current.stdout) == (0, "")
    assert alembic("check").returncode != 0
    assert await names_of_tables(owner) == []


async def test_upgrade_and_downgrade_work_as_ever(
    alembic: Alembic, sample: "System", settings: "Settings"
) -> None:
    """Whoever knows Alembic needs to learn nothing."""
    assert alembic("upgrade", "head").returncode == 0
    assert (await status(sample, settings)).is_current
    assert alembic("current").stdout.split() == ["0003", "(head)"]
    assert alembic("downgrade", "-1").returncode == 0
    assert (await status(sample, settings)).current == ("0002",)
    assert alembic("upgrade", "+1").returncode == 0
    assert (await status(sample, settings)).current == ("0003",)
    assert alembic("downgrade", "base").returncode == 0
    assert (await status(sample, settings)).current == ()


def test_unchanged_models_give_an_empty_revision(alembic: Alembic, tmp_path: Path) -> None:
    """The layer's tables, and what triggers compare, must not appear in a system's revisions."""
    folder = tmp_path / "sample"
    shutil.copytree(SAMPLE, folder)
    assert alembic("upgrade", "head").returncode == 0
    checked = alembic("check")
    assert (checked.returncode, checked.stdout.strip()) == (
        0,
        "No new upgrade operations detected.",
    )
    made = alembic("revision", "--autogenerate", "-m", "nothing", folder=folder)
    assert made.returncode == 0, made.stderr
    (path,) = (folder / "migrations/versions").glob("*nothing.py")
    assert path.read_text().count("    pass") == 2


def test_script_of_everything_migrates_an_empty_database(
    alembic: Alembic, stack: "Servers", settings: "Settings", tmp_path: Path
) -> None:
    """An administrator may want to read and run the SQL instead."""
    if stack.state is None:
        pytest.skip("no psql of the embedded stack")
    script = tmp_path / "upgrade.sql"
    script.write_text(alembic("upgrade", "head", "--sql").stdout)
    psql = str(stack.state.client_tools / "psql")
    url = settings.migration_database().render()
    subprocess.run([psql, "-qv", "ON_ERROR_STOP=1", "-f", str(script), url], check=True)
    assert asyncio.run(status(system, settings)).is_current


def test_no_database_is_one_line(alembic: Alembic, tmp_path: Path) -> None:
    """The commonest mistake deserves no traceback."""
    done = alembic("upgrade", "head", DATABASE_URL="", BEDPLATE_STATE_DIR=str(tmp_path))
    assert done.returncode != 0
    told = " ".join((done.stdout + done.stderr).split())
    assert told == (
        "FAILED: no database: neither SAMPLE_DATABASE_URL nor DATABASE_URL is set, "
        "and no embedded stack runs. Try: bedplate up -d"
    )


def test_unreachable_database_is_one_line_without_the_password(alembic: Alembic) -> None:
    """A traceback through asyncio and greenlets says nothing, and logs are read by many."""
    done = alembic("current", DATABASE_URL="postgresql://me:sesame@127.0.0.1:1/books")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "127.0.0.1:1" in done.stdout + done.stderr
    assert "sesame" not in done.stdout + done.stderr


def test_running_stack_is_found(alembic: Alembic, stack: "Servers") -> None:
    """After `bedplate up`, `alembic` needs no variable."""
    if stack.state is None:
        pytest.skip("a server of one's own")
    done = alembic(
        "current",
        folder=ROOT / "systems" / "librilabs",
        DATABASE_URL="",
        BEDPLATE_STATE_DIR=str(stack.folder),
    )
    assert done.returncode == 0, done.stdout + done.stderr
