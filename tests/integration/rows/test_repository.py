"""A repository and its pages, and locks on names."""

import uuid

import pytest
from sqlalchemy import Select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import ConflictError, CursorError, NotFoundError
from bedplate.rows.database import Database
from bedplate.rows.locks import NAMESPACE, lock, lock_key, try_lock
from tests.integration.rows.library import Book, Books, Passage


class ShelfA(Books):
    """Only what stands on shelf a."""

    def visible(self) -> Select[Book]:
        """The books of shelf a."""
        return super().visible().where(Book.shelf == "a")


async def test_L9_a_row_is_added_read_and_deleted(shelf: AsyncSession) -> None:
    """The whole of what a repository is for; the id is known, and kept by a uuid.UUID."""
    books = Books(shelf)
    book = await books.add(Book(title="Emma"))
    assert book.id.version == 7
    assert await books.get(book.id) is book
    assert repr(book) == f"<Book {book.id}>"
    await books.delete(book)
    assert await books.find(book.id) is None


async def test_a_row_that_is_not_there_is_an_error_of_its_own(shelf: AsyncSession) -> None:
    """A route makes a 404 of it."""
    missing = uuid.uuid4()
    with pytest.raises(NotFoundError, match=f"no Book {missing}"):
        await Books(shelf).get(missing)


async def test_a_row_that_is_not_visible_is_not_there(shelf: AsyncSession) -> None:
    """Also by its id, and also when the session has it in memory already."""
    hidden = await Books(shelf).add(Book(title="Emma", shelf="b"))
    with pytest.raises(NotFoundError):
        await ShelfA(shelf).get(hidden.id)
    assert (await ShelfA(shelf).page()).items == []


async def test_a_taken_unique_key_is_a_conflict_that_names_it(shelf: AsyncSession) -> None:
    """A route makes a 409 of it, or reads the row that is there."""
    await Books(shelf).add(Book(title="Emma"))
    with pytest.raises(ConflictError, match="uq_books_title") as caught:
        await Books(shelf).add(Book(title="Emma"))
    assert caught.value.data["constraint"] == "uq_books_title"


async def test_another_violation_is_no_conflict(shelf: AsyncSession) -> None:
    """A missing parent is a fault of the caller's, not a row that exists already."""
    shelf.add(Passage(book_id=uuid.uuid4(), position=0, content="", configuration="simple"))
    with pytest.raises(IntegrityError):
        await Books(shelf).add(Book(title="Emma"))


async def test_a_locked_row_is_read_as_it_is_after_the_wait(library: Database) -> None:
    """What the session read before somebody else's commit must not be written back."""
    async with library.session() as ours, library.session() as theirs:
        book = await Books(theirs).add(Book(title="Emma"))
        await theirs.commit()
        seen = await Books(ours).get(book.id)
        book.shelf = "b"
        await theirs.commit()
        assert seen.shelf == "a"
        assert (await Books(ours).get(book.id, is_locked=True)).shelf == "b"


async def test_pages_hold_every_row_once_newest_first(shelf: AsyncSession) -> None:
    """Also where many rows have one created_at: the id decides."""
    made = [Book(title=str(number)) for number in range(25)]
    shelf.add_all(made)
    await shelf.flush()
    seen: list[Book] = []
    cursor = None
    for _ in range(3):
        page = await Books(shelf).page(cursor=cursor, limit=10)
        seen += page.items
        cursor = page.next
    assert cursor is None
    assert seen == sorted(made, key=lambda book: book.id, reverse=True)


async def test_a_row_that_comes_between_does_not_shift_the_pages(shelf: AsyncSession) -> None:
    """Pages by offset would show one row twice."""
    shelf.add_all([Book(title=str(number)) for number in range(4)])
    await shelf.commit()
    first = await Books(shelf).page(limit=2)
    shelf.add(Book(title="between"))
    await shelf.commit()
    second = await Books(shelf).page(limit=2, cursor=first.next)
    titles = [book.title for book in (*first.items, *second.items)]
    assert sorted(titles) == ["0", "1", "2", "3"]


async def test_a_cursor_belongs_to_its_conditions(shelf: AsyncSession) -> None:
    """The cursor of one shelf on another would begin in the middle of it."""
    shelf.add_all([Book(title=str(number)) for number in range(3)])
    await shelf.flush()
    page = await Books(shelf).page(Book.shelf == "a", limit=1)
    assert (await Books(shelf).page(Book.shelf == "a", limit=1, cursor=page.next)).items
    for conditions in ((Book.shelf == "b",), ()):
        with pytest.raises(CursorError):
            await Books(shelf).page(*conditions, limit=1, cursor=page.next)


async def test_a_limit_beyond_the_cap_gives_the_cap(shelf: AsyncSession) -> None:
    """A client cannot ask for the whole table."""
    shelf.add_all([Book(title=str(number)) for number in range(101)])
    await shelf.flush()
    page = await Books(shelf).page(limit=10**6)
    assert len(page.items) == 100
    assert page.next is not None


async def test_a_lock_on_a_name_excludes_others_until_the_end(library: Database) -> None:
    """Two requests that would both make the same thing; nobody has to unlock."""
    async with library.session() as one, library.session() as two:
        await lock(one, "emma", "persuasion")
        assert not await try_lock(two, "emma")
        assert await try_lock(two, "lady susan")
        await one.commit()
        assert await try_lock(two, "emma")


async def test_locks_can_be_seen_in_their_namespace(shelf: AsyncSession) -> None:
    """A person who asks what waits for what finds them by classid."""
    await lock(shelf, "emma")
    held = text("SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = :namespace")
    keys = (await shelf.scalars(held, {"namespace": NAMESPACE})).all()
    assert keys == [lock_key("emma") % 2**32]
