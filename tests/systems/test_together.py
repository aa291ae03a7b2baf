"""All systems of the project as `make run` starts them: one address, one page, one server."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from bedplate.files.file_store import PENDING_POOL_SIZE
from bedplate.project import Project
from bedplate.rows.database import OWNER_POOL_SIZE
from bedplate.settings import Settings
from tests.docs.pages import Page
from tests.docs.session import OURS
from tests.systems.everything import PATIENCE_SECONDS, Running, everything
from tests.texts import ROOT

# PostgreSQL's own default, which the compose files leave as it is, and what it keeps for
# administrators.
MOST_CONNECTIONS, RESERVED = 100, 3
PAGES = (
    "docs/systems/librilabs.md",
    "docs/systems/live_agent.md",
    "docs/systems/pdf_translator.md",
    "docs/systems/sme.md",
    "systems/live_agent/README.md",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Everything, from an empty folder."""
    folder = tmp_path_factory.mktemp("together")
    with everything(folder, {"PYTHONWARNINGS": "default"}, without=OURS) as running:
        yield running


def test_the_page_shows_every_system_and_that_its_services_are_up(
    run: Running, project: Project
) -> None:
    """What it is, where its documentation is, how each of its services does."""
    with httpx.Client(base_url=run.address, timeout=PATIENCE_SECONDS) as browser:
        page = browser.get("/").text
        sections = dict(re.findall(r"<h2>(\w+)</h2>(.*?)</section>", page, re.DOTALL))
        assert {*sections} == {entry.name for entry in project.systems}
        for name, section in sections.items():
            services = dict(re.findall(r'<tr><td>(\w+)</td><td class="(\w+)">', section))
            assert {"database", "migrations", "redis", "relay", "s3"} <= {*services}, name
            assert {*services.values()} == {"up"}, services
            assert browser.get(f"/{name}/docs").status_code == 200
            assert browser.get(f"/{name}/openapi.json").json()["paths"]
        assert browser.get("/health/ready").json() == {"status": "ok"}


async def test_all_processes_stay_under_the_servers_connections(
    run: Running, project: Project
) -> None:
    """Relay, workers and listeners as they are, and the API with every pool at its most."""
    environment = run.environment()
    url = environment["LIBRILABS_DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        # Who is not the server's superuser sees of others that they are there, and not more.
        now = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datid > 0")
    finally:
        await connection.close()
    settings = Settings.load("librilabs", environment)
    pool = settings.pool_size + settings.max_overflow
    most = now + len(project.systems) * (pool + PENDING_POOL_SIZE + OWNER_POOL_SIZE)
    assert now > 0
    assert most <= MOST_CONNECTIONS - RESERVED, f"{now} at rest, {most} at most"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_systems_page_types_is_answered(run: Running, page: str, tmp_path: Path) -> None:
    """Line by line, as a newcomer does, at the address of this run."""
    here = "tests/systems/test_together.py"
    blocks = [block.text for block in Page(ROOT / page).blocks if block.said("run by") == here]
    assert blocks
    for block in blocks:
        typed = subprocess.run(
            ["bash", "-e", "-c", block.replace("http://127.0.0.1:8000", run.address)],
            cwd=tmp_path,
            env=run.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert typed.returncode == 0, typed.stdout + typed.stderr


def test_one_system_is_seeded_alone(run: Running) -> None:
    """`make seed SYSTEM=live_agent` says so to the command by a variable."""
    systems = run.call("seed", BEDPLATE_SYSTEMS="live_agent")["systems"]
    assert [each["system"] for each in systems] == ["live_agent"]
    assert all(line.startswith("skipped ") for each in systems for line in each["seeded"])
    assert systems[0]["seeded"]


@pytest.mark.parametrize("target", ["run", "up", "migrate", "seed"])
def test_make_is_for_one_system_where_it_names_one(tmp_path: Path, target: str) -> None:
    """And for all of them where it does not."""
    stand_in = tmp_path / "bin" / "bedplate"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "<$BEDPLATE_SYSTEMS>"\n')
    stand_in.chmod(0o755)
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "run.stamp").touch()
    assert _made(target, f"VENV={tmp_path}", "SYSTEM=sme") == "<sme>"
    assert _made(target, f"VENV={tmp_path}") == "<>"


def _made(target: str, *variables: str) -> str:
    kept = {name: each for name, each in os.environ.items() if not name.startswith("MAKE")}
    kept.pop("BEDPLATE_SYSTEMS", None)
    done = subprocess.run(
        ["make", "-s", target, *variables],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
