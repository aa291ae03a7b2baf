"""The schema that the initial migration makes, read from the catalogue; migrations up and down."""

import re
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.orm import DeclarativeBase

from bedplate.migrations.upgrade import upgrade
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from bedplate.testing.stack import Servers
from systems.sme.models import Base
from tests.systems.alembic import (
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
    constraints_of,
    refuses,
    tables_of,
)
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "sme"
TIME, UUID = "timestamp with time zone", "uuid"
BASE_MODEL = {
    "id": (UUID, False),
    "created_at": (TIME, False),
    "updated_at": (TIME, False),
    "deleted_at": (TIME, True),
}
DEFAULTS = """
SELECT column_name, column_default FROM information_schema.columns WHERE table_name = $1
"""
INSERT_EVIDENCE = """
INSERT INTO evidence (title, content_type, size_bytes, content_hash)
VALUES ('a', 'text/plain', 1, sha256($1)) RETURNING id
"""
INSERT_PASSAGE = """
INSERT INTO passages (evidence_id, position, start, "end", text, config)
VALUES ($1, $2, $3, $4, 'some words', 'english') RETURNING id
"""


async def test_S2_the_migration_enables_pgvector(
    blank_database: ScratchDatabase, stack: Servers
) -> None:
    """Where the extension is not there yet, and the owner may make it."""
    if stack.state is None:
        pytest.skip("the owner of a server that is named may not drop the extension")
    url = stack.admin.with_database(blank_database.url.database)
    connection = await asyncpg.connect(**url.connect_arguments())
    try:
        await connection.execute("DROP EXTENSION vector")
        await connection.execute(f'ALTER ROLE "{blank_database.url.user}" SUPERUSER')
        ran = await alembic(FOLDER, blank_database, "upgrade", "head")
    finally:
        await connection.execute(f'ALTER ROLE "{blank_database.url.user}" NOSUPERUSER')
        await connection.close()

    assert ran.returncode == 0, ran.stderr
    ask = asker(blank_database)
    assert len(await ask("SELECT * FROM pg_extension WHERE extname = 'vector'")) == 1
    ((made,),) = await ask("SELECT '[1,2,3]'::vector <-> '[1,2,4]'::vector")
    assert made == 1


async def test_S2_a_table_with_a_vector_column_finds_nearest_neighbours(
    catalogue: Catalogue,
) -> None:
    """The extension works, and is no empty entry of a catalogue."""
    (row,) = await catalogue("SELECT * FROM pg_extension WHERE extname = 'vector'")
    assert row["extname"] == "vector"
    nearest = await catalogue("""
        WITH made AS (
          SELECT * FROM (VALUES ('far', '[9,9,9]'::vector(3)), ('near', '[1,1,2]'::vector(3)),
                                ('nearest', '[1,1,1]'::vector(3))) AS v (name, place)
        )
        SELECT name FROM made ORDER BY place <-> '[1,1,1]' LIMIT 2
    """)
    assert [row["name"] for row in nearest] == ["nearest", "near"]


async def test_S3_alembic_connects_asynchronously_and_migrates(
    blank_database: ScratchDatabase,
) -> None:
    """The commands that everybody knows; `alembic_version` is there afterwards."""
    for command in (["upgrade", "head"], ["downgrade", "-1"], ["upgrade", "head"]):
        await typed(FOLDER, blank_database, *command)
    assert "0002 (head)" in await typed(FOLDER, blank_database, "current")
    ask = asker(blank_database)
    assert [row[0] for row in await ask("SELECT version_num FROM alembic_version")] == ["0002"]
    await assert_unchanged(FOLDER, blank_database)
    assert "run_async_migrations" in (ROOT / "src/bedplate/migrations/env.py").read_text()
    assert_names_no_database(FOLDER)


async def test_S3_downgrade_leaves_nothing_and_upgrade_works_again(
    blank_database: ScratchDatabase, bedplate_system: System
) -> None:
    """What is left behind makes the next upgrade fail."""
    await assert_reversible(bedplate_system, blank_database, "0002")


async def test_S4_the_initial_migration_has_its_message_and_the_base_model(
    blank_database: ScratchDatabase,
) -> None:
    """Every table of the system has the four columns, with their defaults."""
    history = await typed(FOLDER, blank_database, "history")
    assert re.search(r"<base> -> 0001.*initial_base_model", history)
    await typed(FOLDER, blank_database, "upgrade", "0001")
    ask = asker(blank_database)
    tables = await tables_of(ask)
    assert tables == {"evidence", "passages"}
    for table in tables:
        columns = await columns_of(ask, table)
        assert {name: columns.get(name) for name in BASE_MODEL} == BASE_MODEL, table
        defaults = dict(tuple(row) for row in await ask(DEFAULTS, table))
        assert defaults["id"] == "gen_random_uuid()"
        assert defaults["created_at"] == defaults["updated_at"] == "now()"
        assert defaults["deleted_at"] is None
        assert (await constraints_of(ask, table))[f"pk_{table}"] == "PRIMARY KEY (id)"


async def test_S4_every_model_stands_on_the_abstract_base() -> None:
    """`Base` is exported from the models; who adds a table has the columns without a word."""
    assert issubclass(Base, DeclarativeBase)
    assert Base.__abstract__
    assert not hasattr(Base, "__table__")
    for table in Base.metadata.tables.values():
        assert set(BASE_MODEL) <= set(table.columns.keys())


async def test_S4_updated_at_moves_with_every_update(
    catalogue: Catalogue, committed: object
) -> None:
    """Whoever sends it: psql, a migration, a bulk statement."""
    ((evidence,),) = await catalogue(INSERT_EVIDENCE, b"a")
    await catalogue(INSERT_PASSAGE, evidence, 0, 0, 4)
    for table in ("evidence", "passages"):
        await catalogue(f"UPDATE {table} SET created_at = created_at")
        ((made, moved),) = await catalogue(f"SELECT created_at, updated_at FROM {table}")
        assert moved > made, table


async def test_the_head_has_exactly_what_the_models_have(catalogue: Catalogue) -> None:
    """One table, column or null more or less is somebody's surprise."""
    await assert_as_models(catalogue, Base.metadata)


async def test_S3_a_changed_model_becomes_a_revision(
    blank_database: ScratchDatabase, bedplate_system: System, tmp_path: Path
) -> None:
    """Autogenerate sees the new column and nothing else; vectors and triggers are known to it."""
    folder = copy_of_the_system("sme", tmp_path)
    await upgrade(bedplate_system, blank_database.settings())
    revision = await revised(
        folder,
        blank_database,
        "Add a shelf",
        model="evidence.py",
        column="shelf: Mapped[str | None] = mapped_column(String(40))",
        before="source: Mapped[str | None]",
    )
    assert operations_of(revision) == ["add_column", "drop_column"]


async def test_S8_the_database_refuses_what_no_passage_is(
    catalogue: Catalogue, committed: object
) -> None:
    """A vector without its model's name, of other dimensions, a place that is none."""
    ((evidence,),) = await catalogue(INSERT_EVIDENCE, b"a")
    ((passage,),) = await catalogue(INSERT_PASSAGE, evidence, 0, 0, 4)
    embed = "UPDATE passages SET embedding = $1::real[]::vector, embedding_model = $2"
    await refuses(catalogue, "ck_passages_embedding_model", embed, [0.1] * 384, None)
    await refuses(catalogue, "ck_passages_embedding_model", embed, None, "minilm")
    with pytest.raises(asyncpg.DataError, match="expected 384 dimensions"):
        await catalogue(embed, [0.1] * 383, "minilm")
    await catalogue(embed, [0.1] * 384, "minilm")
    ((model, dimensions),) = await catalogue(
        "SELECT embedding_model, embedding_dimensions FROM passages WHERE id = $1", passage
    )
    assert (model, dimensions) == ("minilm", 384)
    await refuses(catalogue, "ck_passages_place", INSERT_PASSAGE, evidence, 1, 4, 4)
    await refuses(catalogue, "ck_passages_position", INSERT_PASSAGE, evidence, -1, 0, 4)
    with pytest.raises(asyncpg.UniqueViolationError):
        await catalogue(INSERT_PASSAGE, evidence, 0, 0, 4)


async def test_S8_the_same_content_is_stored_once_while_it_is_present(
    catalogue: Catalogue, committed: object
) -> None:
    """A deleted piece of evidence does not hold its hash."""
    await catalogue(INSERT_EVIDENCE, b"a")
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_evidence_content_hash"):
        await catalogue(INSERT_EVIDENCE, b"a")
    await catalogue("UPDATE evidence SET deleted_at = now()")
    assert await catalogue(INSERT_EVIDENCE, b"a")
