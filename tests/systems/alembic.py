"""Plain Alembic in a system's folder, as a person types it, and what a downgrade has left."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bedplate.migrations.upgrade import downgrade, upgrade
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from tests.systems.conftest import asker
from tests.texts import ROOT

# Everything that a revision could leave behind, but Alembic's own table and extensions' parts.
LEFT = """
SELECT 'relation ' || c.relname AS name FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'alembic_version%'
UNION ALL
SELECT 'type ' || t.typname FROM pg_type t
WHERE t.typnamespace = 'public'::regnamespace AND t.typname NOT LIKE '%alembic_version'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_type e ON e.oid = d.refobjid
                  WHERE d.objid = t.oid AND d.deptype = 'i')
UNION ALL
SELECT 'function ' || p.proname FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'trigger ' || t.tgname FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'public'::regnamespace
"""

# What autogenerate makes of a column with an index, and how it undoes it.
COLUMN_AND_INDEX = ["add_column", "create_index", "f", "drop_index", "f", "drop_column"]


async def alembic(
    folder: Path, scratch: ScratchDatabase, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Plain `alembic` in a system's folder."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=folder,
            env={**_environment(folder.name), **scratch.variables()},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return await asyncio.to_thread(run)


async def typed(folder: Path, scratch: ScratchDatabase, *arguments: str) -> str:
    """What it says on both streams. Asserts that it succeeds."""
    ran = await alembic(folder, scratch, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


async def assert_unchanged(folder: Path, scratch: ScratchDatabase) -> None:
    """Autogenerate finds nothing to do."""
    assert "No new upgrade operations detected" in await typed(folder, scratch, "check")


async def revised(
    folder: Path, scratch: ScratchDatabase, message: str, *, model: str, column: str, before: str
) -> str:
    """The text of the revision that autogenerate makes of a column more, above this one."""
    path = folder / "models" / model
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(f"    {before}", f"    {column}\n    {before}", 1))
    await typed(folder, scratch, "revision", "--autogenerate", "-m", message)
    name = re.sub(r"\W+", "_", message).lower()
    (made,) = (folder / "migrations" / "versions").glob(f"*{name}.py")
    return made.read_text()


def operations_of(revision: str) -> list[str]:
    """What it does in its upgrade and its downgrade."""
    return re.findall(r"op\.(\w+)", revision)


async def assert_reversible(system: System, scratch: ScratchDatabase, head: str) -> None:
    """To this head, down to nothing, and up again: what is left makes the next upgrade fail."""
    ask, settings = asker(scratch), scratch.settings()
    assert (await upgrade(system, settings)).head == head
    assert await ask(LEFT) != []
    await downgrade(system, settings, "base")
    assert await ask(LEFT) == []
    assert (await upgrade(system, settings)).head == head


def assert_names_no_database(folder: Path) -> None:
    """The URL comes from the environment."""
    ini = (folder / "alembic.ini").read_text()
    assert "script_location = %(here)s/migrations" in ini
    assert "sqlalchemy.url" not in ini


def copy_of_the_system(name: str, folder: Path) -> Path:
    """A project of its own with this system in it, whose models a test may change."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(
        ROOT / "systems", folder / "systems", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder / "systems" / name


def _environment(system: str) -> dict[str, str]:
    # A variable of this system would win over the DATABASE_URL of the test.
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((f"{system.upper()}_", "DATABASE_", "MIGRATION_"))
    }
