"""The development account: made once, never in production."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from httpx import AsyncClient

from bedplate.errors import ProductionRefusedError
from bedplate.layer import DataLayer
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from tests.systems.conftest import Catalogue
from tests.systems.live_agent.asking import log_in, sign_up
from tests.texts import ROOT

MADE = ["created organization Test Organization", "created user admin@test.com"]
SKIPPED = ["skipped organization Test Organization", "skipped user admin@test.com"]


async def seed(layer: DataLayer, system: System) -> list[str]:
    """Once more, as `bedplate seed` does: as the schema's owner."""
    assert system.seed is not None
    async with layer.owner_transaction() as uow:
        return list(await system.seed(uow))


async def test_A13_the_seed_makes_an_organization_and_its_admin_once(
    layer: DataLayer, bedplate_system: System, catalogue: Catalogue, client: AsyncClient
) -> None:
    """As specified; a second run says that it made nothing, and made nothing."""
    assert await seed(layer, bedplate_system) == MADE
    everything = "SELECT * FROM users u JOIN organizations o ON o.id = u.organization_id"
    before = await catalogue(everything)
    assert await seed(layer, bedplate_system) == SKIPPED
    assert await catalogue(everything) == before

    (row,) = before
    assert (row["email"], row["role"], row["name"]) == (
        "admin@test.com",
        "admin",
        "Test Organization",
    )
    assert row["hashed_password"].startswith("$2b$")
    assert "password123" not in row["hashed_password"]
    answer = await log_in(client, "admin@test.com", "password123")
    assert answer.json()["organization"]["name"] == "Test Organization"


async def test_A13_what_is_there_is_left_as_it_is(
    layer: DataLayer, bedplate_system: System, catalogue: Catalogue, ann: AsyncClient
) -> None:
    """A password that was changed, an organization of that name: neither is made anew."""
    await sign_up(ann, "Test Organization", "admin@test.com")
    users = await catalogue("SELECT * FROM users ORDER BY id")
    assert await seed(layer, bedplate_system) == SKIPPED
    assert await catalogue("SELECT * FROM users ORDER BY id") == users


async def test_A13_the_seed_is_a_command_that_reads_a_dotenv(
    committed: ScratchDatabase, tmp_path: Path
) -> None:
    """`python -m systems.live_agent.seeds`, twice, and then told that it is in production."""
    page = (ROOT / "systems" / "live_agent" / "README.md").read_text()
    assert "\npython -m systems.live_agent.seeds\n" in page
    lines = "".join(f"{name}={value}\n" for name, value in committed.variables().items())
    (tmp_path / ".env").write_text(lines)
    for said in (MADE, SKIPPED):
        ran = await _seed(tmp_path, {})
        assert (ran.returncode, ran.stdout.splitlines()) == (0, said), ran.stderr

    ran = await _seed(tmp_path, {"BEDPLATE_ENV": "production"})
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert ran.stderr.startswith("✗ ")


async def test_A13_the_seed_refuses_production(
    layer: DataLayer,
    bedplate_system: System,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its password is in this repository."""
    monkeypatch.setenv("BEDPLATE_ENV", "production")
    with pytest.raises(ProductionRefusedError, match=r"admin@test\.com"):
        await seed(layer, bedplate_system)
    assert await catalogue("SELECT FROM users") == []


async def _seed(folder: Path, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATABASE_", "LIVE_AGENT_DATABASE", "REDIS_", "BEDPLATE_"))
    }
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "systems.live_agent.seeds"],
        cwd=folder,
        env={**kept, "LIVE_AGENT_BCRYPT_ROUNDS": "4", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
