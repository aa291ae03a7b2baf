"""Recall of search by meaning at 100,000 vectors, with and without filters; part of `search`.

Vectors of 384 dimensions in 400 clusters, each of an intrinsic dimension of 24, as texts of many
topics lie; the questions are new ones of the same topics. Against pgvector's defaults: the index
that its documentation makes, and no setting. The true answer is numpy's.
"""

import io
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bedplate.rows.models import Model, new_metadata
from bedplate.rows.nearest import Embedded, find_nearest
from bedplate.rows.vectors import EF_CONSTRUCTION, M, Vector

COUNT, DIMENSIONS, CLUSTERS, INTRINSIC = 100_000, 384, 400, 24
ASKED, LIMIT = 100, 10
# A tenant's share of the rows, by its number; nobody's are the rest.
SHARES = {1: 0.01, 2: 0.1, 3: 0.5}

Floats = NDArray[np.float32]
Ask = Callable[[Floats, int | None], Awaitable[Sequence[int]]]

TABLE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE points (id int PRIMARY KEY, tenant int NOT NULL, embedding vector(384) NOT NULL);
CREATE INDEX ON points (tenant);
SET maintenance_work_mem = '512MB';
"""
OURS = f"""
CREATE INDEX ours ON points USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)
  WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})
"""
USUAL = "CREATE INDEX usual ON points USING hnsw (embedding vector_cosine_ops)"
USUAL_SEARCH = "SELECT id FROM points ORDER BY embedding <=> $1::text::vector LIMIT 10"
USUAL_FILTERED = (
    "SELECT id FROM points WHERE tenant = $2 ORDER BY embedding <=> $1::text::vector LIMIT 10"
)


class Base(Model, DeclarativeBase):
    """Of the one table."""

    metadata = new_metadata()


class Point(Base):
    """A vector, and whose it is."""

    __tablename__ = "points"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[int]
    embedding: Mapped[Sequence[float]] = mapped_column(Vector(DIMENSIONS))


@dataclass(frozen=True)
class Points:
    """What is in the table, and what is asked."""

    vectors: Floats
    tenants: NDArray[np.int32]
    questions: Floats

    @classmethod
    def make(cls) -> "Points":
        """The same each time."""
        random = np.random.default_rng(11)
        centres = random.normal(size=(CLUSTERS, DIMENSIONS))
        frames = random.normal(size=(CLUSTERS, INTRINSIC, DIMENSIONS)) / np.sqrt(INTRINSIC)
        total = COUNT + ASKED
        chosen = random.integers(CLUSTERS, size=total)
        found = np.empty((total, DIMENSIONS), np.float32)
        for cluster in range(CLUSTERS):
            members = np.flatnonzero(chosen == cluster)
            inner = random.normal(size=(len(members), INTRINSIC))
            found[members] = centres[cluster] + inner @ frames[cluster]
        found += 0.05 * random.normal(size=found.shape).astype(np.float32)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        shares = [*SHARES.values(), 1 - sum(SHARES.values())]
        tenants = random.choice([*SHARES, 0], size=COUNT, p=shares).astype(np.int32)
        return cls(found[:COUNT], tenants, found[COUNT:])

    def nearest(self, question: Floats, tenant: int | None) -> set[int]:
        """The true answer."""
        present = np.arange(COUNT) if tenant is None else np.flatnonzero(self.tenants == tenant)
        similar = self.vectors[present] @ question
        return {int(each) for each in present[np.argpartition(-similar, LIMIT)[:LIMIT]]}

    def binary(self) -> bytes:
        """As COPY takes it: pgvector's own form of a vector is its length and its numbers."""
        fields = [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i4"), ("tenant_size", ">i4"),
                  ("tenant", ">i4"), ("size", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"),
                  ("numbers", ">f4", (DIMENSIONS,))]  # fmt: skip
        rows = np.zeros(COUNT, dtype=fields)
        rows["fields"], rows["id_size"], rows["tenant_size"] = 3, 4, 4
        rows["id"], rows["tenant"] = np.arange(COUNT), self.tenants
        rows["size"], rows["dimensions"] = 4 + 4 * DIMENSIONS, DIMENSIONS
        rows["numbers"] = self.vectors
        return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"


async def print_recall(url: str) -> None:
    """A table: ours, then the usual way, over all rows and over each tenant's."""
    points = Points.make()
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    await connection.copy_to_table("points", source=io.BytesIO(points.binary()), format="binary")
    print(f"\n{COUNT:,} vectors of {DIMENSIONS} dimensions, {ASKED} questions, one caller")
    print("| index | of | recall@10 | short pages | ms: p50 | p95 |\n|---|---|---|---|---|---|")
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with AsyncSession(engine) as session:
        await build(connection, OURS, "ours")
        await measure("bedplate", points, our_way(session))
    await engine.dispose()
    await connection.execute("DROP INDEX ours")
    await build(connection, USUAL, "usual")
    await measure("pgvector's defaults", points, usual_way(connection))
    await connection.close()


async def build(connection: asyncpg.Connection, statement: str, name: str) -> None:
    """Make the index; say how long it took, and how large it is."""
    began = time.perf_counter()
    await connection.execute(statement)
    seconds = time.perf_counter() - began
    size = await connection.fetchval("SELECT pg_relation_size($1::text::regclass)", name)
    await connection.execute("ANALYZE points")
    print(f"| {name}: {size / 2**20:.0f} MB, built in {seconds:.0f} s | | | | | |", flush=True)


async def measure(name: str, points: Points, ask: Ask) -> None:
    """A line for all rows, and one for each tenant."""
    for tenant, share in ((None, 1.0), *SHARES.items()):
        recalls, times, short = [], [], 0
        for question in points.questions:
            began = time.perf_counter()
            found = await ask(question, tenant)
            times.append((time.perf_counter() - began) * 1000)
            recalls.append(len(points.nearest(question, tenant) & set(found)) / LIMIT)
            short += len(found) < LIMIT
        of = "all" if tenant is None else f"a tenant's {share:.0%}"
        middle, late = np.quantile(times, [0.5, 0.95])
        print(f"| {name} | {of} | {np.mean(recalls):.3f} | {short} | {middle:.1f} | {late:.1f} |",
              flush=True)  # fmt: skip


def our_way(session: AsyncSession) -> Ask:
    """By `find_nearest`, as it is set."""
    points = Embedded(Point.id, Point.embedding)

    async def ask(question: Floats, tenant: int | None) -> Sequence[int]:
        where: list[ColumnElement[bool]] = [] if tenant is None else [Point.tenant == tenant]
        found = await find_nearest(session, points, question.tolist(), limit=LIMIT, where=where)
        return [each.key for each in found]

    return ask


def usual_way(connection: asyncpg.Connection) -> Ask:
    """The statement of pgvector's documentation."""

    async def ask(question: Floats, tenant: int | None) -> Sequence[int]:
        written = str(question.tolist())
        if tenant is None:
            rows: Any = await connection.fetch(USUAL_SEARCH, written)
        else:
            rows = await connection.fetch(USUAL_FILTERED, written, tenant)
        return [row["id"] for row in rows]

    return ask
