"""The migrations of pdf_translator: up, down and up again, by plain Alembic."""

from pathlib import Path

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
        await typed(FOLDER, blank_database, *command)
        said = await alembic(FOLDER, blank_database, "current")
        assert said.stdout.strip() == current
        assert await tables_of(ask) == (TABLES if current else set())
        assert bool(await ask(LEFT)) == bool(current)


async def test_P16_alembic_is_initialised_and_its_file_names_no_database() -> None:
    """Everything that `alembic init` makes is where it is looked for."""
    assert_names_no_database(FOLDER)
    for name in ("env.py", "script.py.mako", "versions/0001_initial.py"):
        assert (FOLDER / "migrations" / name).is_file()
    assert "read_environment" in (ROOT / "src/bedplate/migrations/target.py").read_text()


async def test_P16_autogenerate_on_unchanged_models_finds_nothing(
    bedplate_worker_database: ScratchDatabase,
) -> None:
    """A difference that is always there hides those that matter."""
    await assert_unchanged(FOLDER, bedplate_worker_database)


async def test_P16_the_documented_workflow_makes_applies_and_undoes_a_migration(
    blank_database: ScratchDatabase, tmp_path: Path
) -> None:
    """New migration, review, upgrade, rollback: the README's four steps, on a changed model."""
    folder = copy_of_the_system("pdf_translator", tmp_path)
    await typed(folder, blank_database, "upgrade", "head")

    revision = await revised(
        folder,
        blank_database,
        "Keep a user's locale",
        model="user.py",
        column="locale: Mapped[str | None] = mapped_column(String(10), index=True)",
        before="name: Mapped[str]",
    )

    assert operations_of(revision) == COLUMN_AND_INDEX
    ask = asker(blank_database)
    for command, is_there in ((["upgrade", "head"], True), (["downgrade", "-1"], False)):
        await typed(folder, blank_database, *command)
        columns = await ask(
            "SELECT FROM information_schema.columns WHERE column_name = 'locale'"
            " AND table_schema = 'public'"
        )
        assert bool(columns) == is_there
