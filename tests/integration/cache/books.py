"""What the tests of the cache read and write: books with a version, counted loads."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.layer import DataLayer

CREATE_BOOKS = "CREATE TABLE cache_books (id integer PRIMARY KEY, version integer NOT NULL)"
DROP_BOOKS = "DROP TABLE cache_books"
DELETE_BOOKS = text("DELETE FROM cache_books")
WRITE = text("""
INSERT INTO cache_books (id, version) VALUES (:id, :version)
ON CONFLICT (id) DO UPDATE SET version = excluded.version
""")
READ = text("SELECT version FROM cache_books WHERE id = :id")
TTL = timedelta(minutes=10)


class Book(BaseModel):
    """A book as a route would answer it."""

    id: int
    version: int


@dataclass
class Library:
    """Reads through the cache of one layer, writes through its unit of work."""

    layer: DataLayer

    def __post_init__(self) -> None:
        self.loads: Counter[int] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.has_read = asyncio.Event()

    async def read(self, book_id: int, **options: object) -> Book | None:
        """A book, by the cache."""
        options = {"ttl": TTL, **options}
        return await self.layer.cache.get_or_load(
            f"book:{book_id}",
            lambda: self.load(book_id),
            as_type=Book | None,
            **options,  # type: ignore[arg-type]  # as given
        )

    async def load(self, book_id: int) -> Book | None:
        """A book from its row; waits at the gate with what it has read."""
        self.loads[book_id] += 1
        async with self.layer.reading() as session:
            found = await select(session, book_id)
        self.has_read.set()
        await self.gate.wait()
        return found

    async def write(self, book_id: int, version: int, *, tags: tuple[str, ...] = ()) -> None:
        """Commit a version and have the cache forget the book."""
        async with self.layer.transaction() as uow:
            await uow.execute(WRITE, {"id": book_id, "version": version})
            uow.invalidate(f"book:{book_id}", tags=tags)


async def select(session: AsyncSession, book_id: int) -> Book | None:
    """A book's row."""
    version = await session.scalar(READ, {"id": book_id})
    return None if version is None else Book(id=book_id, version=version)
