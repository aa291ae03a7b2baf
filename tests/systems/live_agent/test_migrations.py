"""The migrations of live_agent: up, down and up again, by plain Alembic, and what it says."""

from dataclasses import replace
from pathlib import Path

import pytest

from bedplate.testing.clones import ScratchDatabase
from tests.systems.alembic import (
    COLUMN_AND_INDEX,
    LEFT,
    alembic,
    assert_names_no_database,
    assert_unchanged,
    copy_of_the_system,
    operations_of,
    revised,
    typed,
)
from tests.systems.conftest import asker
from tests.systems.schema import tables_of
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "live_agent"
INITIAL = "0001_initial_schema_users_orgs_sessions.py"


def test_A2_alembics_folder_is_complete_and_its_file_names_no_database() -> None:
    """Everything that `alembic init` makes is where it is looked for."""
    assert_names_no_database(FOLDER)
    for name in ("env.py", "script.py.mako", f"versions/{INITIAL}"):
        assert (FOLDER / "migrations" / name).is_file()
    assert "Base.metadata" in (FOLDER / "migrations" / "env.py").read_text()
    assert "run_async_migrations" in (ROOT / "src/bedplate/migrations/env.py").read_text()


async def test_A2_env_takes_the_url_from_a_dotenv(
    blank_database: ScratchDatabase, tmp_path: Path
) -> None:
    """As from the environment, which the other tests use."""
    folder = copy_of_the_system("live_agent", tmp_path)
    (tmp_path / ".env").write_text(f"LIVE_AGENT_DATABASE_URL={blank_database.url.render()}\n")
    elsewhere = replace(blank_database, url=replace(blank_database.url, port=1), pooled_url=None)

    await typed(folder, elsewhere, "upgrade", "0001")

    assert "users" in await tables_of(asker(blank_database))


async def test_A2_autogenerate_knows_the_models(
    blank_database: ScratchDatabase, tmp_path: Path
) -> None:
    """A changed model becomes a revision that is applied and undone as it is."""
    folder = copy_of_the_system("live_agent", tmp_path)
    await typed(folder, blank_database, "upgrade", "head")

    revision = await revised(
        folder,
        blank_database,
        "Add plans",
        model="organization.py",
        column="plan: Mapped[str | None] = mapped_column(String(20), index=True)",
        before="name: Mapped[str]",
    )

    assert operations_of(revision) == COLUMN_AND_INDEX
    for command in (["upgrade", "head"], ["check"], ["downgrade", "-1"]):
        await typed(folder, blank_database, *command)


async def test_A3_current_on_a_fresh_database_shows_no_revision(
    blank_database: ScratchDatabase,
) -> None:
    """And it creates nothing, not even its own table."""
    ran = await alembic(FOLDER, blank_database, "current")

    assert (ran.returncode, ran.stdout.strip()) == (0, "")
    tables = "SELECT FROM pg_tables WHERE schemaname IN ('public', 'bedplate')"
    assert await asker(blank_database)(tables) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"port": 1}, "nobody answers there"),
        ({"password": "mistaken"}, "the password is wrong"),
        ({"database": "nowhere"}, "there is no such database"),
    ],
    ids=["server down", "wrong password", "unknown database"],
)
async def test_A3_what_is_wrong_is_one_clear_line(
    blank_database: ScratchDatabase, changed: dict[str, object], said: str
) -> None:
    """Not a traceback of fifty, and the password is in none of them."""
    url = replace(blank_database.url, **changed)  # type: ignore[arg-type] # the test's
    wrong = replace(blank_database, url=url, pooled_url=None)

    ran = await alembic(FOLDER, wrong, "current")

    assert ran.returncode != 0
    (line,) = [each for each in (ran.stdout + ran.stderr).splitlines() if each]
    assert line.startswith(f"FAILED: PostgreSQL at {url.host}:{url.port}")
    assert said in line
    assert str(url.password) not in line


async def test_A10_the_initial_migration_goes_up_down_and_up_again(
    blank_database: ScratchDatabase,
) -> None:
    """Its message and its tables are those specified; nothing is left behind by the way down."""
    text = (FOLDER / "migrations" / "versions" / INITIAL).read_text()
    assert text.startswith('"""initial_schema_users_orgs_sessions.')
    assert "down_revision: str | Sequence[str] | None = None" in text
    ask = asker(blank_database)
    tables = {"users", "organizations", "sessions"}

    for command in ("upgrade", "downgrade", "upgrade"):
        target = "0001" if command == "upgrade" else "base"
        await typed(FOLDER, blank_database, command, target)
        shown = {
            row[0] for row in await ask("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        }
        assert shown == {*(tables if command == "upgrade" else ()), "alembic_version"}
        assert bool(await ask(LEFT)) == (command == "upgrade")


async def test_A10_upgrade_head_downgrade_base_and_upgrade_head(
    blank_database: ScratchDatabase,
) -> None:
    """The commands as specified, over every revision."""
    ask = asker(blank_database)
    for command, target in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head")):
        await typed(FOLDER, blank_database, command, target)
        found = await tables_of(ask)
        assert {"users", "organizations", "sessions"} <= found if target == "head" else not found
    await assert_unchanged(FOLDER, blank_database)
