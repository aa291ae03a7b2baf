"""The nearest rows against numpy's exact answer: by the index, under filters, in full pages."""

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, event, insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import VectorError
from bedplate.rows import nearest
from bedplate.rows.database import Database
from bedplate.rows.nearest import Embedded, exact_statement, find_nearest, nearest_statement
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import Clones, ScratchDatabase
from tests.integration.rows.archive_of_vectors import DIMENSIONS, Base, Note, some_vectors

NOTES = Embedded(Note.id, Note.embedding)
COUNT = 6000
ASKED = 50
# Owner 1 has more rows than are compared one by one, owner 2 few, owner 3 three.
OWNERS = np.select([np.arange(COUNT) % 2 == 0, np.arange(COUNT) % 50 == 1], [1, 2], 0)
OWNERS[[77, 777, 3777]] = 3
VECTORS = some_vectors(COUNT, seed=4)


@pytest.fixture(scope="module")
def filled(
    clones: Clones, background: BackgroundLoop, worker_redis_url: str
) -> Iterator[ScratchDatabase]:
    """A database with 6,000 notes, which no test commits to."""
    scratch = clones.blank("librilabs", worker_redis_url)
    background.run(_fill(Database(scratch.url)))
    yield scratch
    clones.drop(scratch)


async def _fill(database: Database) -> None:
    """The index after the rows, as a bulk load would make it."""
    indexes = {str(index.name): index for index in Note.metadata.tables["notes"].indexes}
    values = [
        {"id": number, "owner": int(OWNERS[number]), "embedding": VECTORS[number]}
        for number in range(COUNT)
    ]
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(indexes["ix_notes_embedding"].drop)
        await connection.execute(insert(Note), values)
        await connection.run_sync(indexes["ix_notes_embedding"].create)
        await connection.execute(text("ANALYZE notes"))
    await database.close()


@pytest.fixture
async def notes(filled: ScratchDatabase) -> AsyncIterator[AsyncSession]:
    """A session on it."""
    database = Database(filled.url)
    async with database.session() as session:
        yield session
    await database.close()


def expected(question: NDArray[np.float32], owner: int | None, limit: int = 10) -> list[int]:
    """The exact answer."""
    present = np.arange(COUNT) if owner is None else np.flatnonzero(owner == OWNERS)
    order = np.argsort(-(VECTORS[present].astype(np.float64) @ question), kind="stable")
    return [int(each) for each in present[order][:limit]]


def owned(owner: int | None) -> list[ColumnElement[bool]]:
    """As `where`."""
    return [] if owner is None else [Note.owner == owner]


async def recall(session: AsyncSession, owner: int | None) -> float:
    """The share of the ten nearest that is found, over many questions; each page is full."""
    shares = []
    for question in some_vectors(ASKED, seed=5):
        found = await find_nearest(session, NOTES, question, limit=10, where=owned(owner))
        wanted = expected(question, owner)
        assert len(found) == len(wanted)
        shares.append(len({each.key for each in found} & set(wanted)) / len(wanted))
    return float(np.mean(shares))


@pytest.mark.parametrize("owner", [None, 1, 2, 3], ids=["all", "half", "1 of 50", "three"])
async def test_S10_recall_is_over_95_of_100_also_with_a_filter(
    notes: AsyncSession, owner: int | None
) -> None:
    """pgvector's defaults find a twentieth under a filter, in short pages, silently."""
    assert await recall(notes, owner) > 0.95


async def test_recall_is_over_95_of_100_under_a_tenants_policy_too(notes: AsyncSession) -> None:
    """The caller filters by nothing, and the server by row-level security."""
    for statement in (
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE notes FORCE ROW LEVEL SECURITY",
        "CREATE POLICY own ON notes USING (owner = current_setting('bedplate.tenant')::int)",
    ):
        await notes.execute(text(statement))
    for owner in (1, 2):
        await notes.execute(text(f"SET LOCAL bedplate.tenant = '{owner}'"))
        shares = []
        for question in some_vectors(ASKED, seed=10):
            found = await find_nearest(notes, NOTES, question, limit=10, has_policy=True)
            wanted = expected(question, owner)
            assert len(found) == len(wanted)
            shares.append(len({each.key for each in found} & set(wanted)) / len(wanted))
        assert np.mean(shares) > 0.95


async def test_S11_the_order_and_the_distances_are_those_that_numpy_computes(
    notes: AsyncSession,
) -> None:
    """Found at half precision, and put in order by the full one."""
    question = some_vectors(1, seed=6)[0]
    found = await find_nearest(notes, NOTES, question, limit=5)
    assert [each.key for each in found] == expected(question, None, 5)
    distances = 1 - VECTORS[[each.key for each in found]] @ question
    assert np.allclose([each.distance for each in found], distances, atol=1e-5)


async def test_S11_the_exact_statement_is_exact(notes: AsyncSession) -> None:
    """What the recall of an index is measured against in production."""
    for question in some_vectors(5, seed=7):
        statement = exact_statement(NOTES, question, limit=10, where=owned(1))
        found = (await notes.execute(statement)).all()
        assert [row.key for row in found] == expected(question, 1)


@pytest.mark.parametrize("owner", [None, 1])
async def test_what_many_pass_is_found_by_the_index(notes: AsyncSession, owner: int | None) -> None:
    """And nothing is compared one by one: that would be exact, and slow."""
    explained = await explain(notes, owner)
    assert "Index Scan using ix_notes_embedding" in explained
    assert explained.count("never executed") >= 1


async def test_what_few_pass_is_compared_one_by_one(notes: AsyncSession) -> None:
    """The index would be searched for long, and miss some."""
    explained = await explain(notes, 2)
    exact = explained.split("CTE exact")[1].split("CTE Scan on exact")[0]
    assert "Heap" in exact.replace("(never executed)", "")
    assert "Limit" in exact.splitlines()[1]
    assert "actual rows=10" in exact.splitlines()[1]
    assert "(never executed)" in explained.split("CTE near")[1].split("CTE exact")[0]


async def test_a_scan_that_gives_up_does_not_shorten_the_page(
    notes: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that pass lie far off, and the scan may look at few: then each is compared."""
    monkeypatch.setattr(nearest, "MAX_SCAN_TUPLES", 1)
    monkeypatch.setattr(nearest, "EXACT_ROWS", 10)
    monkeypatch.setattr(nearest, "EF_SEARCH_FILTERED", 1)
    question = some_vectors(1, seed=8)[0]
    far = set(np.argsort(VECTORS @ question)[:100].tolist())
    where = [Note.id.in_(far)]
    found = await find_nearest(notes, NOTES, question, limit=10, where=where)
    assert len(found) == 10
    assert {each.key for each in found} <= far


async def test_the_parameters_end_with_the_transaction(notes: AsyncSession) -> None:
    """The connection's next user, behind a pooler a stranger, has the defaults."""
    await find_nearest(notes, NOTES, VECTORS[0])
    assert await notes.scalar(text("SHOW hnsw.iterative_scan")) == "relaxed_order"
    await notes.rollback()
    assert await notes.scalar(text("SHOW hnsw.iterative_scan")) == "off"
    assert await notes.scalar(text("SHOW hnsw.ef_search")) == "40"


async def test_it_is_one_round_trip(notes: AsyncSession) -> None:
    """Filter, parameters and all."""
    seen: list[str] = []
    connection = await notes.connection()
    event.listen(
        connection.sync_connection,
        "before_cursor_execute",
        lambda *arguments: seen.append(arguments[2]),
    )
    await find_nearest(notes, NOTES, VECTORS[0], where=owned(1))
    assert len(seen) == 1


async def test_rows_without_a_vector_are_not_found(notes: AsyncSession) -> None:
    """Evidence whose job has not come so far yet; a page longer than the table, too."""
    await notes.execute(text("UPDATE notes SET embedding = NULL WHERE owner = 3 AND id > 77"))
    found = await find_nearest(notes, NOTES, VECTORS[0], where=owned(3))
    assert [each.key for each in found] == [77]


async def test_a_vector_of_another_model_is_refused(notes: AsyncSession) -> None:
    """Before anything is sent."""
    with pytest.raises(VectorError, match=f"3 dimensions, and the column {DIMENSIONS}"):
        await find_nearest(notes, NOTES, [1.0, 2.0, 3.0])


async def explain(session: AsyncSession, owner: int | None) -> str:
    """The plan of a search, executed."""
    question = some_vectors(1, seed=9)[0]
    statement = nearest_statement(NOTES, question, limit=10, where=owned(owner))
    connection = await session.connection()
    compiled = statement.compile(dialect=connection.dialect)
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    plain = tuple(each.tolist() if isinstance(each, np.ndarray) else each for each in values)
    rows = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING off) {compiled}", plain)
    return "\n".join(row[0] for row in rows)
