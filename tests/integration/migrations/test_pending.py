"""A database that is behind the code is never served from as if it were not."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bedplate.errors import PendingMigrationError
from bedplate.fastapi.root import create_root
from bedplate.migrations import readiness
from bedplate.migrations.readiness import SchemaReadiness, wait_until_current
from bedplate.migrations.upgrade import downgrade, upgrade
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from tests.integration.migrations.conftest import names_of_tables

# To the commands these servers are somebody's: they do not look for a stack of their own.
LOOPBACK = "127.1"
URLS = ("DATABASE_URL", "REDIS_URL")


@pytest.fixture
def root(
    project: Project, blank_database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> FastAPI:
    """librilabs on an empty database, which nobody has migrated; each request looks anew."""
    monkeypatch.setattr(readiness, "FRESH", timedelta())
    return create_root(
        project,
        {
            **blank_database.variables(),
            "BEDPLATE_SECRET_KEY": "a key of thirty-two characters or more",
        },
    )


@pytest.mark.bad_day("A pending migration", sees="503 `migration_pending` and what to run")
@pytest.mark.fault(40, holds="I14", every_run=True)
async def test_fault_40_an_unmigrated_database_serves_nothing_and_says_so(
    root: FastAPI, owner: Any
) -> None:
    """Not a 500 of one route and a success of another; alive all the same, and not ready."""
    async with client_of(root) as client:
        for method, path in (("GET", "documents"), ("POST", "documents"), ("GET", "nothing")):
            refused = await client.request(method, f"/librilabs/{path}")
            assert refused.status_code == 503
            assert refused.json()["code"] == "migration_pending"
            assert "bedplate migrate" in refused.json()["hint"]
            assert refused.headers["retry-after"]
        ready = await client.get("/health/ready")
        health = await client.get("/health")
        alive = await client.get("/health/live")
    assert (ready.status_code, alive.status_code) == (503, 200)
    found = health.json()["systems"]["librilabs"]
    assert found["migrations"]["reason"] == "migration pending"
    assert found["database"]["status"] == "up"
    assert await names_of_tables(owner) == []


async def test_serving_begins_when_the_migration_is_done(
    root: FastAPI, librilabs: System, settings: Settings
) -> None:
    """Who migrates and who serves start at once: nobody must be started again."""
    async with client_of(root) as client:
        assert (await client.get("/librilabs/documents")).status_code == 503
        await upgrade(librilabs, settings)
        assert (await client.get("/librilabs/documents")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200


@pytest.mark.bad_day(
    "A half-migrated database", sees="503 `migration_pending`, naming the revision"
)
async def test_a_half_migrated_database_is_said(librilabs: System, settings: Settings) -> None:
    """The layer's tables are there and the system's last revision is not."""
    await upgrade(librilabs, settings)
    await downgrade(librilabs, settings, "-1")
    with pytest.raises(PendingMigrationError, match="librilabs") as raised:
        await SchemaReadiness(librilabs, settings).require_current()
    assert raised.value.data["pending"] == ("0002",)


async def test_a_downgrade_under_a_serving_process_closes_it(
    root: FastAPI, librilabs: System, settings: Settings
) -> None:
    """Readiness asks the database each time, and what it finds holds for requests, too."""
    await upgrade(librilabs, settings)
    async with client_of(root) as client:
        assert (await client.get("/librilabs/documents")).status_code == 200
        await downgrade(librilabs, settings, "-1")
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/librilabs/documents")).status_code == 503


async def test_who_waits_goes_on_when_another_has_migrated(
    sample: System, settings: Settings
) -> None:
    """As a relay or a worker that was started together with the migration."""
    waiting = asyncio.create_task(
        wait_until_current([SchemaReadiness(sample, settings)], timedelta(seconds=30))
    )
    await upgrade(sample, settings)
    await waiting


@pytest.mark.bad_day(
    "A worker or relay before the migration", sees="says that it waits, then exit status 3"
)
@pytest.mark.parametrize("command", ["relay", "worker"])
def test_a_process_that_waited_in_vain_says_for_what(
    command: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """In order that who watches it starts it again, and a person knows what to do."""
    ended = subprocess.run(
        [sys.executable, "-m", "bedplate.cli.main", command, "--timeout", "0.1"],
        env={
            **environment,
            **{name: environment[name].replace("127.0.0.1", LOOPBACK) for name in URLS},
            "BEDPLATE_STATE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    assert "Waiting: the database of librilabs is behind the code" in ended.stderr
    assert "Try: bedplate migrate" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@asynccontextmanager
async def client_of(root: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=root, raise_app_exceptions=False)
    async with (
        root.router.lifespan_context(root),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client
