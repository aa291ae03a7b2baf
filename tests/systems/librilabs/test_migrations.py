"""The migrations of librilabs: up, down, unchanged and changed models; plain Alembic."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bedplate.migrations.upgrade import upgrade
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from bedplate.testing.stack import Servers
from systems.librilabs.models import Base
from tests.systems.alembic import (
    COLUMN_AND_INDEX,
    LEFT,
    alembic,
    assert_names_no_database,
    assert_reversible,
    assert_unchanged,
    copy_of_the_system,
    operations_of,
    revised,
    typed,
)
from tests.systems.conftest import Catalogue, asker
from tests.systems.schema import (
    assert_as_models,
    columns_of,
    tables_of,
)
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "librilabs"
OFFERED = "SELECT FROM pg_available_extensions WHERE name = 'uuid-ossp'"
BASE_SCHEMA = {
    "users": "id email created_at updated_at",
    "documents": "id content file_name file_size source_language user_id session_id"
    " created_at updated_at",
    "translations": "id document_id target_language translated_content status"
    " progress_percentage translation_state user_id session_id created_at updated_at",
    "document_passages": "document_id index text config tsv",
    "translation_chunks": "translation_id index source_start source_end translated_text",
}


async def test_L4_autogenerate_on_unchanged_models_finds_nothing(
    librilabs_database: ScratchDatabase,
) -> None:
    """A difference that is always there hides those that matter."""
    await assert_unchanged(FOLDER, librilabs_database)


async def test_L4_a_changed_model_becomes_a_revision_that_can_be_applied(
    blank_database: ScratchDatabase, librilabs: System, tmp_path: Path
) -> None:
    """With its message, in plain Alembic's words, and the file made is applied as it is."""
    folder = copy_of_the_system("librilabs", tmp_path)
    await upgrade(librilabs, blank_database.settings())
    revision = await revised(
        folder,
        blank_database,
        "Give readers a shelf",
        model="user.py",
        column="shelf: Mapped[str | None] = mapped_column(String(40), index=True)",
        before="documents: Mapped[list",
    )
    assert "Give readers a shelf" in revision
    assert operations_of(revision) == COLUMN_AND_INDEX
    await typed(folder, blank_database, "upgrade", "head")
    assert await asker(blank_database)("SELECT shelf FROM users") == []
    await assert_unchanged(folder, blank_database)


async def test_L4_plain_alembic_works_from_the_systems_folder(
    blank_database: ScratchDatabase,
) -> None:
    """The commands that everybody knows, as the specification writes them."""
    assert (await typed(FOLDER, blank_database, "--version")).startswith("alembic ")
    for command in (["upgrade", "head"], ["downgrade", "-1"], ["upgrade", "head"]):
        await typed(FOLDER, blank_database, *command)
    assert "0002 (head)" in await typed(FOLDER, blank_database, "current")
    await typed(FOLDER, blank_database, "downgrade", "base")
    assert await asker(blank_database)(LEFT) == []
    assert "asyncio.run" in (ROOT / "src/bedplate/migrations/env.py").read_text()
    assert_names_no_database(FOLDER)


async def test_L5_downgrade_leaves_nothing_and_upgrade_works_again(
    blank_database: ScratchDatabase, librilabs: System
) -> None:
    """What is left behind makes the next upgrade fail."""
    await assert_reversible(librilabs, blank_database, "0002")


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


async def test_L5_the_migration_makes_exactly_the_base_schema(
    blank_database: ScratchDatabase,
) -> None:
    """The specification's columns, no more and no less; later revisions add what is theirs."""
    ran = await alembic(FOLDER, blank_database, "upgrade", "0001")
    assert ran.returncode == 0, ran.stderr

    ask = asker(blank_database)
    assert await tables_of(ask) == set(BASE_SCHEMA)
    for table, columns in BASE_SCHEMA.items():
        assert set(await columns_of(ask, table)) == set(columns.split()), table


async def test_the_head_has_exactly_what_the_models_have(catalogue: Catalogue) -> None:
    """One table, column or null more or less is somebody's surprise."""
    await assert_as_models(catalogue, Base.metadata)
    assert set(Base.metadata.tables) == set(BASE_SCHEMA)
