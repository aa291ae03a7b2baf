"""Vector columns: what goes in comes out, distances are numpy's, and Alembic sees no difference."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from numpy.typing import NDArray
from sqlalchemy import Connection, inspect, literal, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession

import bedplate
from bedplate.errors import VectorError
from bedplate.migrations.env import render_item
from bedplate.rows.database import Database
from bedplate.rows.vectors import (
    HalfVector,
    Vector,
    cosine_distance,
    euclidean_distance,
    hnsw_index,
    inner_product,
)
from tests.integration.rows.archive_of_vectors import DIMENSIONS, Base, Note, some_vectors
from tests.integration.rows.conftest import MakeDatabase, with_tables

Distance = Callable[[Any, Any], Any]


@pytest.fixture
async def archive(blank: Database) -> Database:
    """A database with the table of notes."""
    return await with_tables(blank, Base.metadata)


@pytest.fixture
async def notes(archive: Database) -> AsyncIterator[AsyncSession]:
    """A session on it."""
    async with archive.session() as session:
        yield session


def cosine(vectors: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """By the book."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(one)
    return np.asarray(1 - vectors @ one / lengths)


def euclidean(vectors: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """By the book."""
    return np.asarray(np.linalg.norm(vectors - one, axis=1))


def product(vectors: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """By the book."""
    return vectors @ one


async def test_what_goes_in_comes_out(notes: AsyncSession) -> None:
    """Floats of 32 bits, to the last bit; from numpy, from a list, and none at all."""
    one, two = some_vectors(2, seed=1)
    notes.add_all([Note(id=1, embedding=one), Note(id=2, embedding=two.tolist()), Note(id=3)])
    await notes.flush()
    notes.expunge_all()
    found = (await notes.scalars(select(Note.embedding).order_by(Note.id))).all()
    assert found == [one.tolist(), two.tolist(), None]


@pytest.mark.parametrize(
    ("distance", "by_the_book"),
    [(cosine_distance, cosine), (euclidean_distance, euclidean), (inner_product, product)],
)
async def test_S11_distances_are_those_that_numpy_computes(
    notes: AsyncSession, distance: Distance, by_the_book: Distance
) -> None:
    """Of vectors of any length, not only of length 1."""
    vectors = some_vectors(200, seed=2) * np.linspace(0.1, 9, 200, dtype=np.float32)[:, None]
    notes.add_all([Note(id=index, embedding=each) for index, each in enumerate(vectors)])
    await notes.flush()
    question = some_vectors(1, seed=3)[0] * 2
    statement = select(distance(Note.embedding, literal(question, Vector(DIMENSIONS))))
    found = (await notes.scalars(statement.order_by(Note.id))).all()
    expected = by_the_book(vectors.astype(np.float64), question.astype(np.float64))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected) > 0.5


@pytest.mark.parametrize(
    "vector",
    [[1.0] * (DIMENSIONS - 1), [1.0] * (DIMENSIONS + 1), [], [float("nan")] * DIMENSIONS,
     [float("inf")] + [1.0] * (DIMENSIONS - 1)],
)  # fmt: skip
async def test_what_is_no_vector_is_refused_before_it_is_sent(
    notes: AsyncSession, vector: Sequence[float]
) -> None:
    """The server would end the transaction for it."""
    notes.add(Note(id=1, embedding=vector))
    with pytest.raises(StatementError) as refused:
        await notes.flush()
    assert isinstance(refused.value.orig, VectorError)


def test_more_dimensions_than_an_index_takes_are_refused() -> None:
    """Said where the model is written, not by the first migration."""
    with pytest.raises(VectorError, match="4001 dimensions"):
        hnsw_index("ix", "embedding", 4001)


async def test_the_types_are_known_when_a_table_is_read_back(archive: Database) -> None:
    """Else a warning for each, and no comparison."""
    async with archive.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE notes ADD half halfvec(7)"))
        columns = await connection.run_sync(lambda its: inspect(its).get_columns("notes"))
    types = {column["name"]: column["type"] for column in columns}
    assert isinstance(types["embedding"], Vector)
    assert types["embedding"].dimensions == DIMENSIONS
    assert isinstance(types["half"], HalfVector)


async def test_autogenerate_finds_nothing_on_unchanged_models(archive: Database) -> None:
    """Neither in the column nor in the index on half of its precision."""

    def compare(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with archive.engine.connect() as connection:
        assert await connection.run_sync(compare) == []
        await connection.execute(
            text("ALTER TABLE notes ALTER embedding TYPE vector(7) USING null")
        )
        assert "modify_type" in str(await connection.run_sync(compare))
        await connection.execute(text("DROP INDEX ix_notes_embedding"))
        assert "add_index" in str(await connection.run_sync(compare))


async def test_a_generated_revision_makes_column_and_index(make_database: MakeDatabase) -> None:
    """As text that can be run: type, operator class, precision and parameters are in it."""

    def migrate(connection: Connection) -> str:
        context = MigrationContext.configure(connection)
        found = produce_migrations(context, Base.metadata).upgrade_ops
        assert found is not None
        written = render_python_code(found, migration_context=context)
        lines = "\n".join(line.strip() for line in written.splitlines())
        names = {"op": Operations(context), "sa": sqlalchemy, "postgresql": postgresql}
        exec(lines, names | {"bedplate": bedplate})  # noqa: S102 - as Alembic runs a revision
        index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_notes_embedding'"
        return str(connection.scalar(text(index)))

    async with make_database().engine.begin() as connection:
        definition = await connection.run_sync(migrate)
    assert f"hnsw (((embedding)::halfvec({DIMENSIONS})) halfvec_cosine_ops)" in definition
    assert "m='24', ef_construction='128'" in definition


def test_a_generated_revision_imports_the_types_that_it_names() -> None:
    """Alembic writes `bedplate.rows.vectors.Vector(24)`, and leaves the import to us."""
    generating = AutogenContext(MigrationContext.configure(dialect_name="postgresql"))
    assert render_item("type", Vector(24), generating) is False
    assert render_item("type", sqlalchemy.Integer(), generating) is False
    assert generating.imports == {"import bedplate.rows.vectors"}
