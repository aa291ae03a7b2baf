"""The nearest rows to a vector: by the index, always a full page, also under a filter.

HNSW answers with what lies near in the whole table, and only then is a filter asked: with one that
1 row of 100 passes, pgvector's defaults find a twentieth of what is nearest, and pages come short,
silently. So in one statement: few rows that pass are compared one by one, which is exact; for many
the index goes on until enough have passed; should it give up all the same, it is exact again.

The parameters of the scan are set inside the statement: no round trip of their own, and none is
left behind after the transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    ScalarSelect,
    Select,
    SelectBase,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.pagination import DEFAULT_LIMIT
from bedplate.rows.vectors import AnyColumn, HalfVector, Vector, check_vector, cosine_distance

# Up to so many rows that pass a filter are compared one by one.
EXACT_ROWS = 2000
# How wide the index is searched. Under a filter some of what is found falls away.
EF_SEARCH = 40
EF_SEARCH_FILTERED = 100
MAX_EF_SEARCH = 1000
# So many times the page is fetched by half precision, and put in order by the full one.
OVERFETCH = 4
# How far an iterative scan goes before it gives up; pgvector's default is 20,000.
MAX_SCAN_TUPLES = 40_000


@dataclass(frozen=True)
class Embedded:
    """The columns of what is found: a unique key, and a `Vector` with an `hnsw_index`."""

    key: AnyColumn
    embedding: AnyColumn

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        kind = self.embedding.type
        assert isinstance(kind, Vector), "not a column of vectors"  # noqa: S101 - a programmer's slip
        return kind.dimensions


@dataclass(frozen=True)
class Found:
    """A row that was found, and how far it is: 0 is the same direction, 2 the opposite."""

    key: Any
    distance: float


async def find_nearest(
    session: AsyncSession,
    embedded: Embedded,
    vector: Sequence[float],
    *,
    limit: int = DEFAULT_LIMIT,
    where: Sequence[ColumnElement[bool]] = (),
    has_policy: bool = False,
) -> list[Found]:
    """The `limit` nearest rows that `where` lets pass, nearest first; fewer only if no more are.

    `has_policy`: a policy of the table filters, too. Raises `VectorError`.
    """
    statement = nearest_statement(embedded, vector, limit=limit, where=where, has_policy=has_policy)
    return [Found(row.key, row.distance) for row in await session.execute(statement)]


def nearest_statement(
    embedded: Embedded,
    vector: Sequence[float],
    *,
    limit: int = DEFAULT_LIMIT,
    where: Sequence[ColumnElement[bool]] = (),
    has_policy: bool = False,
) -> Select[Any]:
    """The statement of `find_nearest`: key, distance."""
    question = _question(embedded, vector)
    fetched = limit * OVERFETCH
    if not where and not has_policy:
        near = _near(embedded, question, fetched, ef_search=_ef(EF_SEARCH, fetched))
        return _page(near, _exact(embedded, question, limit, where, _count(near) < limit), limit)
    few = _few(embedded, where)
    near = _near(
        embedded,
        question,
        fetched,
        ef_search=_ef(EF_SEARCH_FILTERED, fetched),
        where=(*where, _count(few) > EXACT_ROWS),
    )
    exact = _exact(
        embedded, question, limit, where, or_(_count(few) <= EXACT_ROWS, _count(near) < limit)
    )
    return _page(near, exact, limit)


def exact_statement(
    embedded: Embedded,
    vector: Sequence[float],
    *,
    limit: int = DEFAULT_LIMIT,
    where: Sequence[ColumnElement[bool]] = (),
) -> Select[Any]:
    """The same with every row compared: to know what the index misses. Key, distance."""
    exact = _exact(embedded, _question(embedded, vector), limit, where, true())
    return select(exact.c.key, exact.c.distance).order_by(exact.c.distance, exact.c.key)


def _question(embedded: Embedded, vector: Sequence[float]) -> ColumnElement[Any]:
    check_vector(vector, embedded.dimensions)
    return literal(vector, Vector(embedded.dimensions))


def _near(
    embedded: Embedded,
    question: ColumnElement[Any],
    limit: int,
    *,
    ef_search: int,
    where: Sequence[ColumnElement[bool]] = (),
) -> CTE:
    """By the index at half precision, with the distance at full precision."""
    half = HalfVector(embedded.dimensions)
    statement = (
        select(
            embedded.key.label("key"),
            cosine_distance(embedded.embedding, question).label("distance"),
        )
        .where(*where, _with_parameters(ef_search))
        .order_by(cosine_distance(cast(embedded.embedding, half), cast(question, half)))
        .limit(limit)
    )
    return materialized(statement, "near")


def _with_parameters(ef_search: int) -> ColumnElement[bool]:
    """Always true; evaluated once and first, since it depends on no row. Until the commit."""
    settings = {
        "hnsw.ef_search": ef_search,
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": MAX_SCAN_TUPLES,
    }
    set_all = [func.set_config(name, str(value), True) for name, value in settings.items()]
    return select(func.concat(*set_all)).scalar_subquery().is_not(None)


def _few(embedded: Embedded, where: Sequence[ColumnElement[bool]]) -> CTE:
    """Rows that pass, as far as it must be known whether they are few."""
    statement = select(embedded.key.label("key")).where(*where).limit(EXACT_ROWS + 1)
    return materialized(statement, "few")


def _exact(
    embedded: Embedded,
    question: ColumnElement[Any],
    limit: int,
    where: Sequence[ColumnElement[bool]],
    is_wanted: ColumnElement[bool],
) -> CTE:
    """Row by row: no index is on the column as it is."""
    distance = cosine_distance(embedded.embedding, question)
    statement = (
        select(embedded.key.label("key"), distance.label("distance"))
        .where(*where, is_wanted, embedded.embedding.is_not(None))
        .order_by(distance)
        .limit(limit)
    )
    return materialized(statement, "exact")


def _page(near: CTE, exact: CTE, limit: int) -> Select[Any]:
    """The exact answer where there is one, else the index'."""
    by_index = select(near.c.key, near.c.distance).where(_count(exact) == 0)
    both = union_all(select(exact.c.key, exact.c.distance), by_index).subquery("both")
    return select(both.c.key, both.c.distance).order_by(both.c.distance, both.c.key).limit(limit)


def materialized(statement: SelectBase, name: str) -> CTE:
    # Run once; and not made part of another query, whose planner would order it otherwise.
    return statement.cte(name).prefix_with("MATERIALIZED")


def _count(rows: CTE) -> ScalarSelect[int]:
    return select(func.count()).select_from(rows).scalar_subquery()


def _ef(least: int, limit: int) -> int:
    """At least as wide as what is fetched, as far as pgvector allows."""
    return min(max(least, limit), MAX_EF_SEARCH)
