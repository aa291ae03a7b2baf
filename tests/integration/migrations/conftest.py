"""A sample system, and commands run on a database of one's own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from bedplate.rows.database import Database
from tests.integration.migrations.sample_system.app import system as sample_system
from tests.texts import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.testing.clones import ScratchDatabase

SAMPLE = Path(__file__).parent / "sample_system"
# Variables of the run that would name another database.
FOREIGN = ("DATABASE_URL", "DATABASE_DIRECT_URL", "MIGRATION_DATABASE_URL", "BEDPLATE_STATE_DIR")

Spawn = Callable[..., "subprocess.Popen[str]"]
Alembic = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def sample() -> "System":
    """A system with three revisions; the last builds an index outside a transaction."""
    return sample_system


@pytest.fixture
def settings(blank_database: "ScratchDatabase") -> "Settings":
    """Settings for an empty database of this test."""
    return blank_database.settings()


@pytest.fixture
async def owner(blank_database: "ScratchDatabase") -> "AsyncIterator[Any]":
    """A connection to that database, as its owner."""
    connection = await Database(blank_database.url, application_name="test").connect()
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def environment(blank_database: "ScratchDatabase") -> dict[str, str]:
    """The variables of a child process that works on that database."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**kept, **blank_database.variables(), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def alembic(environment: dict[str, str]) -> Alembic:
    """Run plain `alembic`, as a person would in the system's folder."""

    def run(
        *arguments: str, folder: Path = SAMPLE, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=folder,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


async def names_of_tables(connection: "asyncpg.Connection") -> list[str]:
    """Every table of the database, with its schema."""
    rows = await connection.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    return [row["name"] for row in rows]
