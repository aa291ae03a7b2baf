"""Rows that are deleted softly: hidden on every way, restored, purged, and kept by the database."""

import asyncio
import pickle
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    Connection,
    Select,
    delete,
    event,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    union,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    aliased,
    contains_eager,
    immediateload,
    joinedload,
    selectinload,
    subqueryload,
    with_parent,
)

from bedplate.errors import ConflictError, NotFoundError, SoftDeleteError
from bedplate.rows.database import Database
from bedplate.rows.soft_delete import purge
from tests.integration.rows.archive import Base, Box, Boxes, Letter, Letters, Note, Stamp
from tests.integration.rows.conftest import with_tables

NOW = timedelta(0)
LETTERS, BOXES = (Base.metadata.tables[name] for name in ("letters", "boxes"))
ALL: dict[str, Any] = {"include_deleted": True}


@pytest.fixture
async def archive(blank: Database) -> Database:
    """A database with the archive's tables."""
    return await with_tables(blank, Base.metadata)


@pytest.fixture
async def desk(archive: Database) -> AsyncIterator[AsyncSession]:
    """A session on the archive."""
    async with archive.session() as session:
        yield session


@pytest.fixture
async def kept(desk: AsyncSession) -> Box:
    """A box with the letters `a` (two stamps) and `b`; beside it the letter `c` is deleted,
    a box `lost` is deleted with all that is in it."""
    box = Box(
        label="kept",
        letters=[
            Letter(text="a", stamps=[Stamp(pence=1), Stamp(pence=2)]),
            Letter(text="b"),
            Letter(text="c", stamps=[Stamp(pence=4)]),
        ],
        notes=[Note(text="of kept")],
    )
    lost = Box(label="lost", letters=[Letter(text="d", stamps=[Stamp(pence=8)])])
    desk.add_all([box, lost])
    await desk.flush()
    await desk.delete(box.letters[2])
    await desk.delete(lost)
    await desk.commit()
    desk.expunge_all()
    return box


OTHER = aliased(Letter)
INNER = select(Letter.id, Letter.text).where(Letter.text != "b").cte()

# What each statement of a person's would show of the letters; `c` and `d` are deleted.
STATEMENTS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "entities": (lambda: select(Letter.text).order_by(Letter.text), ["a", "b"]),
    "count": (lambda: select(func.count()).select_from(Letter), [2]),
    "count of a column": (lambda: select(func.count(Letter.id)), [2]),
    "alias": (lambda: select(OTHER.text).order_by(OTHER.text), ["a", "b"]),
    "join to the parent": (
        lambda: select(Letter.text).join(Letter.box).order_by(Letter.text),
        ["a", "b"],
    ),
    "join to the children": (
        lambda: select(Letter.text).join(Box.letters).order_by(Letter.text),
        ["a", "b"],
    ),
    "outer join": (
        lambda: select(func.count(Letter.id)).select_from(Box).outerjoin(Box.letters),
        [2],
    ),
    "join without a relationship": (
        lambda: select(Letter.text).join(Box, Box.id == Letter.box_id).order_by(Letter.text),
        ["a", "b"],
    ),
    "cross join": (
        lambda: select(Letter.text).where(Letter.box_id == Box.id).order_by(Letter.text),
        ["a", "b"],
    ),
    "any": (lambda: select(Box.label).where(Box.letters.any(Letter.text == "c")), []),
    "has": (
        lambda: select(Stamp.pence).where(Stamp.letter.has()).order_by(Stamp.pence),
        [1, 2],
    ),
    "exists": (
        lambda: select(Box.label).where(exists().where(Letter.box_id == Box.id)),
        ["kept"],
    ),
    "exists of a select": (
        lambda: select(literal(1)).where(select(Letter.id).where(Letter.text == "c").exists()),
        [],
    ),
    "in a subquery": (
        lambda: select(Box.label).where(Box.id.in_(select(Letter.box_id))),
        ["kept"],
    ),
    "scalar subquery": (
        lambda: select(
            select(func.count(Letter.id)).where(Letter.box_id == Box.id).scalar_subquery()
        ).select_from(Box),
        [2],
    ),
    "from a subquery": (
        lambda: select(func.count()).select_from(select(Letter).subquery()),
        [2],
    ),
    "entity of a subquery": (
        lambda: select(aliased(Letter, select(Letter).subquery()).text),
        ["a", "b"],
    ),
    "common table expression": (lambda: select(INNER.c.text), ["a"]),
    "union": (
        lambda: union(select(Letter.text), select(Box.label)).order_by("text"),
        ["a", "b", "kept"],
    ),
    "lateral": (
        lambda: select(
            select(Letter.text).where(Letter.box_id == Box.id).lateral("of_box").c.text
        ).select_from(Box),
        ["a", "b"],
    ),
    "group by": (
        lambda: select(func.sum(Stamp.pence)).join(Letter).group_by(Letter.text),
        [3],
    ),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_deleted_row_is_in_no_statement_unless_asked_for(
    desk: AsyncSession, kept: Box, name: str
) -> None:
    """Each is a way by which a deleted row came back in some project."""
    make, expected = STATEMENTS[name]
    statement = make()
    assert sorted((await desk.scalars(statement)).all()) == expected
    # The same statement again, which is compiled already, and one that wants all rows.
    everything = (await desk.scalars(statement.execution_options(**ALL))).all()
    assert sorted(everything) != expected
    assert sorted((await desk.scalars(statement)).all()) == expected


LOADS = {
    "selectin": selectinload,
    "joined": joinedload,
    "subquery": subqueryload,
}


@pytest.mark.parametrize("how", LOADS)
async def test_a_relationship_loads_present_rows_only(
    desk: AsyncSession, kept: Box, how: str
) -> None:
    """Down to the second level; all of them where the statement asks for all."""
    load: Any = LOADS[how]
    statement = (
        select(Box)
        .where(Box.label == "kept")
        .options(load(Box.letters).options(load(Letter.stamps)))
        .execution_options(populate_existing=True)
    )
    box = (await desk.scalars(statement)).unique().one()
    assert [letter.text for letter in box.letters] == ["a", "b"]
    assert [len(letter.stamps) for letter in box.letters] == [2, 0]
    everything = statement.execution_options(**ALL)
    box = (await desk.scalars(everything)).unique().one()
    assert [letter.text for letter in box.letters] == ["a", "b", "c"]
    assert len(box.letters[2].stamps) == 1


async def test_contains_eager_fills_the_collection_with_present_rows(
    desk: AsyncSession, kept: Box
) -> None:
    """The rows come by the statement's own join."""
    statement = select(Box).join(Box.letters).options(contains_eager(Box.letters))
    box = (await desk.scalars(statement)).unique().one()
    assert [letter.text for letter in box.letters] == ["a", "b"]


async def test_a_lazy_load_shows_present_rows_only(desk: AsyncSession, kept: Box) -> None:
    """Of a row that was read, of one that was read among deleted ones, and of one just added."""
    statement = select(Box).options(immediateload(Box.letters)).where(Box.label == "kept")
    (box,) = await desk.scalars(statement)
    assert [letter.text for letter in box.letters] == ["a", "b"]
    desk.expunge_all()
    box = await Boxes(desk).get(kept.id)
    assert await desk.run_sync(lambda _: [letter.text for letter in box.letters]) == ["a", "b"]
    await desk.refresh(box, ["letters"])
    assert [letter.text for letter in box.letters] == ["a", "b"]
    desk.expunge_all()
    box = await Boxes(desk).get(kept.id, include_deleted=True)
    assert await desk.run_sync(lambda _: [letter.text for letter in box.letters]) == ["a", "b"]
    fresh = Box(label="fresh")
    desk.add(fresh)
    await desk.flush()
    await desk.execute(insert(Letter).values(box_id=fresh.id, text="e"))
    await desk.execute(delete(Letter).where(Letter.text == "e"))
    assert await desk.run_sync(lambda _: list(fresh.letters)) == []


async def test_a_lazy_many_to_one_shows_no_deleted_row(desk: AsyncSession, kept: Box) -> None:
    """Also when the session has that row in memory already."""
    (letter,) = await desk.scalars(
        select(Letter).where(Letter.text == "d").execution_options(**ALL)
    )
    assert await desk.run_sync(lambda _: letter.box) is None
    desk.expunge_all()
    box = await desk.get(Box, letter.box_id, execution_options=ALL)
    (letter,) = await desk.scalars(
        select(Letter).where(Letter.text == "d").execution_options(**ALL)
    )
    assert box is not None
    assert await desk.run_sync(lambda _: letter.box) is None


async def test_with_parent_and_sessions_of_ones_own(archive: Database, kept: Box) -> None:
    """The watch is on every session, and not only on those that the layer makes."""
    async with AsyncSession(archive.engine) as session:
        statement = select(Letter.text).where(with_parent(kept, Box.letters)).order_by(Letter.text)
        assert (await session.scalars(statement)).all() == ["a", "b"]
        (letter,) = await session.scalars(select(Letter).where(Letter.text == "a"))
        await session.delete(letter)
        await session.flush()
        assert (await session.scalars(select(Letter.text))).all() == ["b"]
        query = await session.run_sync(lambda its: its.query(Letter).count())
        assert query == 1


async def test_get_shows_no_deleted_row_not_even_from_memory(desk: AsyncSession, kept: Box) -> None:
    """After its deletion in this very session, and when it was read among deleted ones."""
    box = await desk.get(Box, kept.id)
    assert box is not None
    await desk.delete(box)
    await desk.flush()
    assert box.is_deleted
    assert await desk.get(Box, kept.id) is None
    assert await desk.get(Box, kept.id, execution_options=ALL) is box
    desk.expunge_all()
    assert await desk.get(Box, kept.id) is None
    assert await desk.get(Box, kept.id, populate_existing=True) is None
    assert await desk.get(Box, kept.id, with_for_update=True) is None


async def test_a_savepoint_that_rolls_back_undoes_a_deletion(desk: AsyncSession, kept: Box) -> None:
    """The row is shown again, as after any rollback."""
    box = await Boxes(desk).get(kept.id)
    savepoint = await desk.begin_nested()
    await Boxes(desk).delete(box)
    await savepoint.rollback()
    assert await desk.get(Box, kept.id) is box
    await desk.refresh(box)
    assert not box.is_deleted


async def test_a_repository_shows_present_rows_only(desk: AsyncSession, kept: Box) -> None:
    """By id, locked, and page by page; all of them where it is asked for all."""
    letters = Letters(desk)
    first = await letters.page(limit=1)
    second = await letters.page(limit=1, cursor=first.next)
    assert [letter.text for letter in (*first.items, *second.items)] == ["b", "a"]
    assert second.next is None
    everything = await letters.page(include_deleted=True)
    assert sorted(letter.text for letter in everything.items) == ["a", "b", "c", "d"]
    (deleted,) = [letter for letter in everything.items if letter.text == "c"]
    for is_locked in (False, True):
        assert await letters.find(deleted.id, is_locked=is_locked) is None
        with pytest.raises(NotFoundError):
            await letters.get(deleted.id, is_locked=is_locked)
        found = await letters.get(deleted.id, is_locked=is_locked, include_deleted=True)
        assert found is deleted


async def test_a_bulk_update_leaves_deleted_rows_alone(desk: AsyncSession, kept: Box) -> None:
    """By condition, with a subquery, and from a join, whose other side is narrowed, too."""
    changed = await desk.execute(
        update(Letter).values(text=Letter.text + "!").returning(Letter.text)
    )
    assert sorted(changed.scalars()) == ["a!", "b!"]
    of_deleted = (
        update(Box)
        .values(label="x")
        .where(Box.id.in_(select(Letter.box_id).where(Letter.text == "c")))
    )
    assert (await desk.execute(of_deleted.returning(Box.id))).all() == []
    joined = update(Box).values(label="x").where(Box.id == Letter.box_id, Letter.text == "c")
    assert (await desk.execute(joined.returning(Box.id))).all() == []
    alias = aliased(Letter)
    joined = update(Box).values(label="x").where(Box.id == alias.box_id, alias.text == "c")
    assert (await desk.execute(joined.returning(Box.id))).all() == []
    texts = select(Letter.text).order_by(Letter.text).execution_options(**ALL)
    assert (await desk.scalars(texts)).all() == ["a!", "b!", "c", "d"]
    await desk.execute(update(Letter).values(text="?").execution_options(**ALL))
    assert (await desk.scalars(texts)).all() == ["?"] * 4


async def test_a_bulk_delete_becomes_an_update(desk: AsyncSession, kept: Box) -> None:
    """Rows stay, RETURNING gives them, memory knows, and deleted ones keep their time."""
    box = await Boxes(desk).get(kept.id)
    before = dict(
        (await desk.execute(select(Letter.text, Letter.deleted_at).execution_options(**ALL))).all()
    )
    gone = await desk.scalars(delete(Box).where(Box.label == "kept").returning(Box))
    assert gone.all() == [box]
    assert box.is_deleted
    assert await desk.get(Box, kept.id) is None
    await desk.execute(delete(Letter).execution_options(**ALL))
    after = dict(
        (await desk.execute(select(Letter.text, Letter.deleted_at).execution_options(**ALL))).all()
    )
    assert set(after) == {"a", "b", "c", "d"}
    assert after["a"] == after["b"] == box.deleted_at
    assert [after[name] for name in "cd"] == [before[name] for name in "cd"]


async def test_a_bulk_delete_with_a_join(desk: AsyncSession, kept: Box) -> None:
    """DELETE … USING: the other side is narrowed, too."""
    joined = delete(Box).where(Box.id == Letter.box_id, Letter.text == "c")
    assert (await desk.execute(joined.returning(Box.label))).all() == []
    joined = delete(Box).where(Box.id == Letter.box_id, Letter.text == "a")
    assert (await desk.scalars(joined.returning(Box.label))).all() == ["kept"]
    assert (await desk.scalars(select(Box.label))).all() == []


async def test_an_insert_from_a_select_takes_present_rows(desk: AsyncSession, kept: Box) -> None:
    """A copy of a table would bring deleted rows back."""
    copied = select(func.gen_random_uuid(), Letter.box_id, Letter.text)
    await desk.execute(insert(Note).from_select(["id", "box_id", "text"], copied))
    assert sorted((await desk.scalars(select(Note.text))).all()) == ["a", "b", "of kept"]


REFUSED: dict[str, Callable[[], Any]] = {
    "select": lambda: select(Letter.__table__),
    "column": lambda: select(Letter.__table__.c.text),
    "count": lambda: select(func.count()).select_from(Letter.__table__.alias()),
    "subquery": lambda: select(select(Letter.__table__.c.text).subquery()),
    "update": lambda: update(LETTERS).values(text="x"),
    "delete": lambda: delete(LETTERS),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_statement_on_the_bare_table_is_refused(
    desk: AsyncSession, kept: Box, name: str
) -> None:
    """It cannot be narrowed, so that it must say that it wants deleted rows."""
    with pytest.raises(SoftDeleteError, match="bare table letters"):
        await desk.execute(REFUSED[name]())


async def test_a_bare_table_is_refused_after_others_were_not(desk: AsyncSession) -> None:
    """What was found harmless is remembered, by what it reads and not by its text."""
    notes = Base.metadata.tables["notes"]
    for _ in range(2):
        await desk.execute(select(notes.c.text))
        await desk.execute(select(LETTERS.c.text).execution_options(**ALL))
        with pytest.raises(SoftDeleteError, match="bare table letters"):
            await desk.execute(select(LETTERS.c.text))
        with pytest.raises(SoftDeleteError, match="bare table letters"):
            await desk.execute(select(notes.c.text).where(exists().where(LETTERS.c.text == "a")))


async def test_what_asks_for_deleted_rows_on_the_bare_table_gets_them(
    desk: AsyncSession, kept: Box
) -> None:
    """And tables that know no soft delete are nobody's business."""
    count = select(func.count()).select_from(Letter.__table__).execution_options(**ALL)
    assert await desk.scalar(count) == 4
    assert await desk.scalar(select(func.count()).select_from(Note.__table__)) == 1


async def test_an_update_by_keys_is_refused(desk: AsyncSession, kept: Box) -> None:
    """It has no WHERE that could be narrowed."""
    with pytest.raises(SoftDeleteError, match="letters by keys"):
        await desk.execute(update(Letter), [{"id": uuid.uuid4(), "text": "x"}])


async def test_children_are_deleted_and_restored_with_their_parent(
    desk: AsyncSession, kept: Box
) -> None:
    """On every level; what was deleted before on its own stays deleted."""
    boxes = Boxes(desk)
    await boxes.delete(await boxes.get(kept.id))
    await desk.commit()
    for model in (Letter, Stamp):
        assert await desk.scalar(select(func.count()).select_from(model)) == 0
    moments = select(Stamp.deleted_at).where(Stamp.pence < 4).execution_options(**ALL)
    box = await boxes.get(kept.id, include_deleted=True)
    assert set(await desk.scalars(moments)) == {box.deleted_at}
    await boxes.restore(box)
    await desk.commit()
    assert sorted(await desk.scalars(select(Letter.text))) == ["a", "b"]
    assert sorted(await desk.scalars(select(Stamp.pence))) == [1, 2]


async def test_children_in_memory_are_deleted_and_restored_with_their_parent(
    desk: AsyncSession, kept: Box
) -> None:
    """What is not deleted softly stays for the parent's return, also where a cascade marked it."""
    statement = select(Box).options(selectinload(Box.letters), selectinload(Box.notes))
    (box,) = await desk.scalars(statement)
    letter = box.letters[0]
    await desk.delete(box)
    await desk.flush()
    assert await desk.scalar(select(func.count(Letter.id))) == 0
    assert (await desk.scalars(select(Note.text))).all() == ["of kept"]
    await Boxes(desk).restore(box)
    await desk.refresh(letter)
    assert not letter.is_deleted
    assert sorted(await desk.scalars(select(Letter.text))) == ["a", "b"]


async def test_children_of_a_bulk_deletion_go_with_it(desk: AsyncSession, kept: Box) -> None:
    """The database carries it on, whoever sent the statement."""
    await desk.execute(delete(Box))
    assert await desk.scalar(select(func.count(Letter.id))) == 0
    await desk.execute(text("UPDATE boxes SET deleted_at = NULL WHERE label = 'kept'"))
    assert sorted(await desk.scalars(select(Letter.text))) == ["a", "b"]


async def test_a_child_that_is_made_under_a_deleted_parent_is_deleted(
    desk: AsyncSession, kept: Box
) -> None:
    """As when a job stores passages of a document that was deleted meanwhile."""
    boxes = Boxes(desk)
    box = await boxes.get(kept.id)
    await boxes.delete(box)
    late = Letter(box_id=kept.id, text="late")
    desk.add(late)
    await desk.commit()
    assert await desk.scalar(select(func.count(Letter.id))) == 0
    await boxes.restore(box)
    assert sorted(await desk.scalars(select(Letter.text))) == ["a", "b", "late"]


async def test_a_child_that_is_made_while_its_parent_is_deleted_goes_with_it(
    archive: Database, kept: Box
) -> None:
    """Neither transaction sees the other's row: one has to wait."""
    async with archive.session() as deleting, archive.session() as storing:
        await Boxes(deleting).delete(await Boxes(deleting).get(kept.id))
        storing.add(Letter(box_id=kept.id, text="late"))
        waiting = asyncio.create_task(storing.commit())
        await _until_waiting(archive)
        await deleting.commit()
        await waiting
        assert await storing.scalar(select(func.count(Letter.id))) == 0
    async with archive.session() as storing, archive.session() as deleting:
        await Boxes(storing).restore(await Boxes(storing).get(kept.id, include_deleted=True))
        await storing.commit()
        storing.add(Letter(box_id=kept.id, text="early"))
        await storing.flush()
        box = await Boxes(deleting).get(kept.id)
        waiting = asyncio.create_task(Boxes(deleting).delete(box))
        await _until_waiting(archive)
        await storing.commit()
        await waiting
        await deleting.commit()
        assert await storing.scalar(select(func.count(Letter.id))) == 0


async def test_a_child_returns_with_its_parent_only(desk: AsyncSession, kept: Box) -> None:
    """A letter of a deleted box would be found, and lead nowhere."""
    letters = Letters(desk)
    (lost,) = [
        each for each in (await letters.page(include_deleted=True)).items if each.text == "d"
    ]
    with pytest.raises(ConflictError, match="belongs to"):
        await letters.restore(lost)
    assert lost.is_deleted
    (alone,) = [
        each for each in (await letters.page(include_deleted=True)).items if each.text == "c"
    ]
    assert await letters.restore(alone) is alone
    assert not alone.is_deleted
    assert sorted(await desk.scalars(select(Letter.text))) == ["a", "b", "c"]


async def test_a_unique_key_can_be_used_again(desk: AsyncSession, kept: Box) -> None:
    """And then the deleted row cannot return beside the new one."""
    boxes = Boxes(desk)
    again = await boxes.add(Box(label="lost"))
    with pytest.raises(ConflictError):
        async with desk.begin_nested():
            await boxes.add(Box(label="lost"))
    statement = select(Box).where(Box.label == "lost", Box.deleted_at.is_not(None))
    (deleted,) = await desk.scalars(statement.execution_options(**ALL))
    with pytest.raises(ConflictError):
        async with desk.begin_nested():
            await boxes.restore(deleted)
    await boxes.delete(again)
    await desk.refresh(deleted)
    await boxes.restore(deleted)
    assert (await desk.scalars(select(Box).where(Box.label == "lost"))).all() == [deleted]


async def test_only_what_is_deleted_softly_can_be_restored(desk: AsyncSession) -> None:
    """A programmer's mistake, said at once."""
    with pytest.raises(TypeError, match="Note"):
        await Boxes(desk).restore(Note(text="x"))  # type: ignore[arg-type] # what is refused


async def test_deleting_again_changes_nothing(desk: AsyncSession, kept: Box) -> None:
    """The retention runs from the first deletion."""
    boxes = Boxes(desk)
    box = await boxes.get(kept.id)
    await boxes.delete(box)
    first = box.deleted_at
    await boxes.delete(box)
    assert box.deleted_at == first
    assert box.updated_at >= box.created_at


async def test_a_purge_removes_what_was_deleted_long_enough_ago(
    desk: AsyncSession, kept: Box
) -> None:
    """With what hangs on it; what is present, and what was deleted lately, stays."""
    assert await purge(desk, Letter, timedelta(hours=1)) == []
    rows = await purge(desk, Box, NOW, returning=(Box.id, Box.label))
    assert [row.label for row in rows] == ["lost"]
    texts = select(Letter.text).order_by(Letter.text).execution_options(**ALL)
    assert (await desk.scalars(texts)).all() == ["a", "b", "c"]
    ((purged,),) = await purge(desk, Letter, NOW)
    assert isinstance(purged, uuid.UUID)
    assert (await desk.scalars(texts)).all() == ["a", "b"]
    assert await desk.scalar(select(func.count(Box.id)).execution_options(**ALL)) == 1


async def test_a_purge_takes_no_more_than_its_limit_and_leaves_what_others_hold(
    archive: Database, desk: AsyncSession, kept: Box
) -> None:
    """In batches, oldest first, beside other purges and a restore that is under way."""
    await desk.execute(delete(Letter))
    await desk.commit()
    async with archive.session() as other:
        statement = select(Letter).where(Letter.text == "c").with_for_update()
        await other.scalars(statement.execution_options(**ALL))
        assert len(await purge(desk, Letter, NOW, limit=1)) == 1
        assert len(await purge(desk, Letter, NOW, Letter.text != "d")) == 2
    left = select(Letter.text).order_by(Letter.text).execution_options(**ALL)
    assert (await desk.scalars(left)).all() == ["c"]


async def test_the_database_refuses_to_remove_a_present_row(
    archive: Database, desk: AsyncSession, kept: Box
) -> None:
    """psql, and code round the session, delete by accident, too; a purge's rows may go."""
    with pytest.raises(IntegrityError, match="not deleted by its deleted_at"):
        async with desk.begin_nested():
            await desk.execute(text("DELETE FROM letters WHERE text = 'a'"))
    with pytest.raises(IntegrityError):
        async with archive.engine.begin() as connection:
            await connection.execute(delete(BOXES))
    await desk.execute(text("DELETE FROM letters WHERE deleted_at IS NOT NULL"))
    await desk.execute(text("SET LOCAL bedplate.hard_delete = 'on'"))
    await desk.execute(text("DELETE FROM boxes"))
    assert await desk.scalar(select(func.count(Letter.id)).execution_options(**ALL)) == 0


async def test_autogenerate_finds_nothing_on_unchanged_models(archive: Database) -> None:
    """Columns, partial indexes, functions and triggers are as the catalogue tells them."""

    def compare(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with archive.engine.connect() as connection:
        assert await connection.run_sync(compare) == []


async def test_a_statement_is_compiled_once(archive: Database, desk: AsyncSession) -> None:
    """The condition is part of the cached statement; without it each would be compiled again."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, _s: Any, _p: Any, context: Any, _many: Any) -> None:
        seen.append(context.cache_hit.name)

    event.listen(archive.engine.sync_engine, "before_cursor_execute", note)
    for _ in range(3):
        statement: Select[Any] = select(Letter.text).where(Letter.text == "a")
        await desk.execute(statement)
    assert seen[1:] == ["CACHE_HIT", "CACHE_HIT"]


async def test_a_row_can_be_pickled(desk: AsyncSession, kept: Box) -> None:
    """It takes the condition with it, for the relationships that are loaded where it arrives."""
    row = pickle.loads(pickle.dumps(await Boxes(desk).get(kept.id)))  # noqa: S301 - made here
    desk.expunge_all()
    desk.add(row)
    assert await desk.run_sync(lambda _: [letter.text for letter in row.letters]) == ["a", "b"]


async def test_a_condition_stands_once_in_a_statement(
    archive: Database, desk: AsyncSession, kept: Box
) -> None:
    """Twice the same condition would mislead the planner's estimate."""
    seen: list[str] = []
    event.listen(
        archive.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: seen.append(statement),
    )
    await desk.scalars(select(Box).options(selectinload(Box.letters)))
    box = await Boxes(desk).get(kept.id)
    await desk.run_sync(lambda _: box.notes)
    desk.expire(box, ["letters"])
    await desk.run_sync(lambda _: box.letters)
    reading = [each for each in seen if "FROM letters" in each or "FROM boxes" in each]
    assert len(reading) == 4
    assert {each.count("deleted_at IS NULL") for each in reading} == {1}


async def _until_waiting(archive: Database) -> None:
    """Wait until one session waits for another's row."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'relation'")
    async with archive.engine.connect() as connection, asyncio.timeout(20):
        while not await connection.scalar(waiting):
            await connection.execute(text("SELECT pg_sleep(0.01)"))
