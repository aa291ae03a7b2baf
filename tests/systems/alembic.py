"""Plain Alembic in a system's folder, as a person types it, and what a downgrade has left."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bedplate.testing.clones import ScratchDatabase
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
