"""S5 on sme's own models: queries, relationships, counts, bulk statements, keys, restore, purge.

The layer's own tests try every kind of statement: tests/integration/rows/test_soft_delete.py.
"""

import hashlib
import uuid
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from bedplate.errors import ConflictError, NotFoundError, SoftDeleteError
from systems.sme.app import system
from systems.sme.models import Base, Evidence, Passage
from systems.sme.repositories import EvidenceRepository
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.sme.conftest import add_text, ingest

ALL: dict[str, Any] = {"include_deleted": True}


@pytest.fixture
def session(bedplate_session: AsyncSession) -> AsyncSession:
    """A session as the serving role; all of it is rolled back."""
    return bedplate_session


@pytest.fixture
async def pair(session: AsyncSession) -> tuple[Evidence, Evidence]:
    """Two pieces of evidence with two passages each; the second is deleted."""
    made = evidence("kept"), evidence("gone")
    session.add_all(made)
    await session.flush()
    await session.delete(made[1])
    await session.flush()
    return made


def evidence(title: str) -> Evidence:
    """A row with passages, without a file."""
    return Evidence(
        title=title,
        content_type="text/plain",
        size_bytes=1,
        content_hash=hashlib.sha256(title.encode()).digest(),
        tags=["a"],
        passages=[
            Passage(position=at, start=at, end=at + 1, text=f"{title} {at}", config="english")
            for at in (0, 1)
        ],
    )


async def test_S5_deleting_sets_deleted_at_and_the_row_stays(
    session: AsyncSession, pair: tuple[Evidence, Evidence]
) -> None:
    """In every table of the system."""
    gone = pair[1]
    assert gone.deleted_at is not None
    for model in (Evidence, Passage):
        everything = await session.scalar(select(func.count(model.id)).execution_options(**ALL))
        present = await session.scalar(select(func.count(model.id)))
        assert everything == 2 * (present or 0), model
    assert {table.name for table in Base.metadata.tables.values()} == {"evidence", "passages"}
    assert system.metadata is Base.metadata


async def test_S5_a_deleted_row_is_in_no_query_unless_asked_for(
    session: AsyncSession, pair: tuple[Evidence, Evidence]
) -> None:
    """Entities, joins, subqueries, EXISTS, by key, and by the repository."""
    kept, gone = pair
    title = Evidence.title
    statements = {
        "select": select(title),
        "join": select(title).join(Evidence.passages).distinct(),
        "from the passages": select(title).join_from(Passage, Evidence).distinct(),
        "exists": select(title).where(exists().where(Passage.evidence_id == Evidence.id)),
        "in": select(title).where(Evidence.id.in_(select(Passage.evidence_id))),
        "subquery": select(select(Evidence.title).subquery().c.title),
        "tags": select(title).where(Evidence.tags.contains(["a"])),
    }
    for name, statement in statements.items():
        assert (await session.scalars(statement)).all() == ["kept"], name
        everything = (await session.scalars(statement.execution_options(**ALL))).all()
        assert sorted(everything) == ["gone", "kept"], name
    assert await session.get(Evidence, gone.id) is None
    assert await session.get(Evidence, gone.id, execution_options=ALL) is gone
    store = EvidenceRepository(session)
    assert (await store.page()).items == [kept]
    assert {*(await store.page(include_deleted=True)).items} == {kept, gone}
    assert await store.find_same(gone.content_hash) is None
    with pytest.raises(NotFoundError):
        await store.get(gone.id)
    with pytest.raises(SoftDeleteError):
        await session.execute(select(Base.metadata.tables["passages"]))


async def test_S5_a_deleted_row_is_in_no_relationship(
    session: AsyncSession, pair: tuple[Evidence, Evidence]
) -> None:
    """Nor is a passage that was deleted by itself."""
    kept, _ = pair
    await session.delete(kept.passages[0])
    await session.flush()
    session.expunge_all()
    for load in (selectinload, joinedload):
        statement = select(Evidence).options(load(Evidence.passages))
        (found,) = (await session.scalars(statement)).unique()
        assert [passage.position for passage in found.passages] == [1]
        session.expunge_all()
    statement_up = select(Passage).options(joinedload(Passage.evidence))
    everything = (await session.scalars(statement_up.execution_options(**ALL))).all()
    assert {passage.evidence.title for passage in everything} == {"kept", "gone"}
    (only,) = (await session.scalars(statement_up)).all()
    assert only.evidence.title == "kept"


async def test_S5_a_deleted_row_is_in_no_count(
    session: AsyncSession, pair: tuple[Evidence, Evidence]
) -> None:
    """Whatever is counted."""
    assert await session.scalar(select(func.count()).select_from(Evidence)) == 1
    assert await session.scalar(select(func.count()).select_from(select(Passage).subquery())) == 2
    grouped = select(Passage.evidence_id, func.count()).group_by(Passage.evidence_id)
    assert [tuple(row) for row in await session.execute(grouped)] == [(pair[0].id, 2)]


async def test_S5_bulk_statements_pass_a_deleted_row_by(
    session: AsyncSession, pair: tuple[Evidence, Evidence]
) -> None:
    """An update changes none; a delete is an update, of the passages, too, and can be undone."""
    kept, gone = pair
    moment = gone.deleted_at
    changed = await session.execute(update(Evidence).values(source="x").returning(Evidence.id))
    assert changed.scalars().all() == [kept.id]
    deleted = await session.execute(delete(Evidence).returning(Evidence.id))
    assert deleted.scalars().all() == [kept.id]
    await session.refresh(gone)
    assert (gone.source, gone.deleted_at) == (None, moment)
    assert await session.scalar(select(func.count(Passage.id))) == 0
    with pytest.raises(IntegrityError, match="deleted_at"):
        async with session.begin_nested():
            await session.execute(text("UPDATE evidence SET deleted_at = NULL"))
            await session.execute(text("DELETE FROM evidence"))
    await EvidenceRepository(session).restore(kept)
    assert await session.scalar(select(func.count(Passage.id))) == 2


async def test_S5_a_deleted_rows_key_is_used_again(
    session: AsyncSession, pair: tuple[Evidence, Evidence]
) -> None:
    """Then it can be restored only when the other is gone."""
    store = EvidenceRepository(session)
    again = await store.add(evidence("gone"))
    with pytest.raises(ConflictError):
        async with session.begin_nested():
            await store.restore(pair[1])
    await store.delete(again)
    await session.refresh(pair[1])
    await store.restore(pair[1])
    assert (await store.find_same(pair[1].content_hash)) is pair[1]


async def test_S5_a_restored_row_is_as_it_was(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue
) -> None:
    """With its vectors and its words: nothing has to be made again."""
    added = await ingest(client, run_job, await add_text(client, "Finches differ on islands."))
    rows = "SELECT id, position, text, embedding::text, tsv::text FROM passages"
    before = await catalogue(rows)

    assert (await client.delete(f"/evidence/{added['id']}")).status_code == 204
    restored = (await client.post(f"/evidence/{added['id']}/restore")).json()

    assert {**restored, "updated_at": None} == {**added, "updated_at": None}
    assert [tuple(row) for row in await catalogue(rows)] == [tuple(row) for row in before]
    assert uuid.UUID(restored["id"])
