"""Faults, row 41: several processes migrate at once, and one is killed in the middle."""

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from bedplate.migrations.layer_schema import layer_revisions
from bedplate.migrations.upgrade import downgrade, status, upgrade
from tests.integration.migrations.conftest import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bedplate.settings import Settings
    from bedplate.system import System

REPLICAS = 6
UPGRADE = """
import asyncio
from bedplate.migrations.upgrade import upgrade
from bedplate.settings import Settings
from tests.integration.migrations.sample_system.app import system

for revision in asyncio.run(upgrade(system, Settings.load())).applied:
    print("applied", revision)
"""
# How plain alembic and the program above tell what they applied.
MARKS = ("Running upgrade", "applied 000")
READ_BLOCKED = """
SELECT count(*) FROM pg_locks WHERE relation = 'books'::regclass AND NOT granted
"""
READ_HOLDERS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"


class Replicas:
    """Processes that migrate one database."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start one; its output is kept."""
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=SAMPLE,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left."""
        for process in self.running:
            if process.stdout and not process.stdout.closed:
                process.kill()
                process.communicate()


@pytest.fixture
def replicas(environment: dict[str, str]) -> "Iterator[Replicas]":
    """None yet; all of them end with the test."""
    started = Replicas(environment)
    yield started
    started.close()


@pytest.mark.fault(41, holds="I1")
async def test_fault_41_six_replicas_migrate_an_empty_database_at_once(
    replicas: Replicas, sample: "System", settings: "Settings", owner: Any
) -> None:
    """Each revision runs once, one of them CREATE INDEX CONCURRENTLY; whoever waits succeeds."""
    for _ in range(REPLICAS // 2):
        replicas.start("-m", "alembic", "upgrade", "head")
        replicas.start("-c", UPGRADE)
    outputs = [process.communicate(timeout=180)[0] for process in replicas.running]
    assert [process.returncode for process in replicas.running] == [0] * REPLICAS, outputs
    told = "\n".join(outputs)
    assert sum(told.count(mark) for mark in MARKS) == len(sample_revisions(told)) == 3
    assert (await status(sample, settings)).is_current
    assert await owner.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_books_title'::regclass"
    )
    ours = await owner.fetchval("SELECT count(*) FROM bedplate.version")
    assert ours == len(layer_revisions())


def sample_revisions(told: str) -> list[str]:
    """Which of the three revisions the outputs name as applied."""
    marks = {"0001": (" -> 0001", "applied 0001"), "0002": (" -> 0002", "applied 0002")}
    marks["0003"] = (" -> 0003", "applied 0003")
    return [each for each, texts in marks.items() if any(text in told for text in texts)]


@pytest.mark.fault(41, holds="I1")
async def test_fault_41_killed_migration_frees_the_lock_and_the_next_run_goes_on(
    replicas: Replicas, sample: "System", settings: "Settings", owner: Any
) -> None:
    """A deploy that was killed must not keep the next one from ending what it began."""
    await upgrade(sample, settings)
    await downgrade(sample, settings, "0001")
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("LOCK TABLE books IN ACCESS SHARE MODE")
    process = replicas.start("-m", "alembic", "upgrade", "head")
    await _until(owner, READ_BLOCKED, 1)
    process.kill()
    process.communicate()
    await transaction.rollback()
    await _until(owner, READ_HOLDERS, 0)
    assert (await status(sample, settings)).current == ("0001",)
    assert (await upgrade(sample, settings)).applied == ("0002", "0003")


async def _until(connection: Any, question: str, answer: int) -> None:
    deadline = time.monotonic() + 20
    while await connection.fetchval(question) != answer:
        assert time.monotonic() < deadline, f"never {answer}: {question}"
