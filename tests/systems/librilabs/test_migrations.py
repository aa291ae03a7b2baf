"""The migrations of librilabs: up, down, unchanged and changed models; plain Alembic."""

import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bedplate.migrations.upgrade import downgrade, upgrade
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from bedplate.testing.stack import Servers
from tests.systems.alembic import LEFT, alembic, copy_of_the_system
from tests.systems.conftest import asker
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "librilabs"
OFFERED = "SELECT FROM pg_available_extensions WHERE name = 'uuid-ossp'"


async def test_L4_autogenerate_on_unchanged_models_finds_nothing(
    librilabs_database: ScratchDatabase,
) -> None:
    """A difference that is always there hides those that matter."""
    checked = await alembic(FOLDER, librilabs_database, "check")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "No new upgrade operations detected" in checked.stdout + checked.stderr


async def test_L4_a_changed_model_becomes_a_revision_that_can_be_applied(
    blank_database: ScratchDatabase, librilabs: System, tmp_path: Path
) -> None:
    """With its message, in plain Alembic's words, and the file made is applied as it is."""
    folder = copy_of_the_system("librilabs", tmp_path)
    await upgrade(librilabs, blank_database.settings())
    model = folder / "models" / "user.py"
    model.write_text(
        model.read_text().replace(
            "    documents: Mapped[list",
            "    shelf: Mapped[str | None] = mapped_column(String(40), index=True)\n"
            "    documents: Mapped[list",
            1,
        )
    )

    made = await alembic(
        folder, blank_database, "revision", "--autogenerate", "-m", "Give readers a shelf"
    )

    assert made.returncode == 0, made.stderr
    (path,) = (folder / "migrations" / "versions").glob("*give_readers_a_shelf.py")
    text = path.read_text()
    assert "Give readers a shelf" in text
    assert re.findall(r"op\.(\w+)", text) == [
        "add_column",
        "create_index",
        "f",
        "drop_index",
        "f",
        "drop_column",
    ]
    applied = await alembic(folder, blank_database, "upgrade", "head")
    assert applied.returncode == 0, applied.stderr
    ask = asker(blank_database)
    assert await ask("SELECT shelf FROM users") == []
    assert (await alembic(folder, blank_database, "check")).returncode == 0


async def test_L4_plain_alembic_works_from_the_systems_folder(
    blank_database: ScratchDatabase,
) -> None:
    """The commands that everybody knows, as the specification writes them."""
    version = await alembic(FOLDER, blank_database, "--version")
    assert version.stdout.startswith("alembic ")

    for command in (["upgrade", "head"], ["downgrade", "-1"], ["upgrade", "head"]):
        ran = await alembic(FOLDER, blank_database, *command)
        assert ran.returncode == 0, ran.stderr
    current = await alembic(FOLDER, blank_database, "current")
    assert "0002 (head)" in current.stdout
    ran = await alembic(FOLDER, blank_database, "downgrade", "base")
    assert ran.returncode == 0, ran.stderr
    assert await asker(blank_database)(LEFT) == []
    assert "asyncio.run" in (ROOT / "src/bedplate/migrations/env.py").read_text()
    ini = (FOLDER / "alembic.ini").read_text()
    assert "script_location" in ini
    assert "sqlalchemy.url" not in ini


async def test_L5_downgrade_leaves_nothing_and_upgrade_works_again(
    blank_database: ScratchDatabase, librilabs: System
) -> None:
    """What is left behind makes the next upgrade fail."""
    ask = asker(blank_database)
    settings = blank_database.settings()
    assert (await upgrade(librilabs, settings)).head == "0002"
    assert await ask(LEFT) != []

    await downgrade(librilabs, settings, "base")

    assert await ask(LEFT) == []
    assert (await upgrade(librilabs, settings)).head == "0002"


async def test_L10_a_server_without_uuid_ossp_is_warned_about_and_migrated(
    blank_database: ScratchDatabase, librilabs: System, stack: Servers
) -> None:
    """No id depends on it, and a failed CREATE EXTENSION would abort the revision."""
    ask = asker(blank_database)
    if await ask(OFFERED):
        if stack.state is None:
            pytest.skip("the server that TEST_DATABASE_URL names offers uuid-ossp")
        await _hide_our_extension(stack, blank_database)
    assert await ask(OFFERED) == []

    ran = await alembic(FOLDER, blank_database, "upgrade", "head")

    assert ran.returncode == 0, ran.stderr
    assert "does not offer the extension uuid-ossp" in ran.stderr
    assert await ask("SELECT FROM pg_extension WHERE extname = 'uuid-ossp'") == []
    ((made,),) = await ask("INSERT INTO users (email) VALUES ('a@example.org') RETURNING id")
    assert made


async def _hide_our_extension(stack: Servers, scratch: ScratchDatabase) -> None:
    """In this database the server looks for extensions in its own folder alone."""
    connection: Any = await asyncpg.connect(**stack.admin.connect_arguments())
    try:
        await connection.execute(
            f"ALTER DATABASE \"{scratch.url.database}\" SET extension_control_path = '$system'"
        )
    finally:
        await connection.close()
