"""The migrations of pdf_translator: up, down and up again, by plain Alembic."""

import re
from pathlib import Path

from bedplate.testing.clones import ScratchDatabase
from tests.systems.alembic import LEFT, alembic, copy_of_the_system
from tests.systems.conftest import asker
from tests.systems.schema import tables_of
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "pdf_translator"
HEAD = "0001"
TABLES = {"users", "translations", "document_blocks", "glossary"}


async def test_P16_upgrade_downgrade_and_upgrade_again_on_an_empty_database(
    blank_database: ScratchDatabase,
) -> None:
    """The URL comes from the environment; what a downgrade leaves makes the next upgrade fail."""
    ask = asker(blank_database)
    assert await ask(LEFT) == []
    for command, current in (
        (["upgrade", "head"], f"{HEAD} (head)"),
        (["downgrade", "-1"], ""),
        (["upgrade", "head"], f"{HEAD} (head)"),
    ):
        ran = await alembic(FOLDER, blank_database, *command)
        assert ran.returncode == 0, ran.stderr
        said = await alembic(FOLDER, blank_database, "current")
        assert said.stdout.strip() == current
        assert await tables_of(ask) == (TABLES if current else set())
        assert bool(await ask(LEFT)) == bool(current)


async def test_P16_alembic_is_initialised_and_its_file_names_no_database() -> None:
    """Everything that `alembic init` makes is where it is looked for."""
    ini = (FOLDER / "alembic.ini").read_text()
    assert "script_location = %(here)s/migrations" in ini
    assert "sqlalchemy.url" not in ini
    for name in ("env.py", "script.py.mako", "versions/0001_initial.py"):
        assert (FOLDER / "migrations" / name).is_file()
    assert "read_environment" in (ROOT / "src/bedplate/migrations/target.py").read_text()


async def test_P16_autogenerate_on_unchanged_models_finds_nothing(
    bedplate_worker_database: ScratchDatabase,
) -> None:
    """A difference that is always there hides those that matter."""
    checked = await alembic(FOLDER, bedplate_worker_database, "check")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "No new upgrade operations detected" in checked.stdout + checked.stderr


async def test_P16_the_documented_workflow_makes_applies_and_undoes_a_migration(
    blank_database: ScratchDatabase, tmp_path: Path
) -> None:
    """New migration, review, upgrade, rollback: the README's four steps, on a changed model."""
    folder = copy_of_the_system("pdf_translator", tmp_path)
    assert (await alembic(folder, blank_database, "upgrade", "head")).returncode == 0
    model = folder / "models" / "user.py"
    model.write_text(
        model.read_text().replace(
            "    name: Mapped[str]",
            "    locale: Mapped[str | None] = mapped_column(String(10), index=True)\n"
            "    name: Mapped[str]",
            1,
        )
    )

    made = await alembic(
        folder, blank_database, "revision", "--autogenerate", "-m", "Keep a user's locale"
    )

    assert made.returncode == 0, made.stderr
    (path,) = (folder / "migrations" / "versions").glob("*keep_a_user_s_locale.py")
    assert re.findall(r"op\.(\w+)", path.read_text()) == [
        "add_column",
        "create_index",
        "f",
        "drop_index",
        "f",
        "drop_column",
    ]
    ask = asker(blank_database)
    for command, is_there in ((["upgrade", "head"], True), (["downgrade", "-1"], False)):
        ran = await alembic(folder, blank_database, *command)
        assert ran.returncode == 0, ran.stderr
        columns = await ask(
            "SELECT FROM information_schema.columns WHERE column_name = 'locale'"
            " AND table_schema = 'public'"
        )
        assert bool(columns) == is_there
