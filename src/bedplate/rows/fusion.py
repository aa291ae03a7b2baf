"""Search by meaning and by words in one statement: two ranked lists made one.

Reciprocal rank fusion: a row scores 1 / (k + place) in each list that it is in. Places can be
added up where scores cannot: a distance and a weight of words have nothing to do with each other.
(Cormack, Clarke, Büttcher: Reciprocal rank fusion outperforms Condorcet …, SIGIR 2009.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Float, Select, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.nearest import Embedded, materialized, nearest_statement
from bedplate.rows.pagination import DEFAULT_LIMIT, MAX_LIMIT, capped
from bedplate.rows.vectors import AnyColumn
from bedplate.rows.words import Worded, words_statement

Mode = Literal["meaning", "words", "hybrid"]

# How much the first places stand out, and what a place among the words counts against one by
# meaning. Chosen on CISI; what half of its questions would choose does as well on the other half,
# and both do better there than meaning alone: `make bench-search`.
PLACES = 10
WORDS_WEIGHT = 0.7
# How long the two lists are, before they become one.
LIST_LENGTH = MAX_LIMIT


@dataclass(frozen=True)
class Searchable:
    """The columns of what is found: a unique key, a `Vector`, a tsvector, each with its index.

    `configuration` is that of the tsvector. `comparable` says which vectors may be compared with
    the question's: those of its model.
    """

    key: AnyColumn
    embedding: AnyColumn
    words: AnyColumn
    configuration: str = "english"
    comparable: Sequence[ColumnElement[bool]] = ()


@dataclass(frozen=True)
class Question:
    """What is asked: its words, and its vector, which a search by words alone does not need."""

    text: str
    vector: Sequence[float] = ()


@dataclass(frozen=True)
class Ranked:
    """A row that was found. Scores of two modes do not compare; those of one search do.

    By meaning the cosine, -1 to 1; by words BM25, above 0; hybrid a share of being the first in
    both lists, up to 1.
    """

    key: Any
    score: float


async def search(
    session: AsyncSession,
    searchable: Searchable,
    question: Question,
    *,
    mode: Mode = "hybrid",
    limit: int = DEFAULT_LIMIT,
    where: Sequence[ColumnElement[bool]] = (),
    has_policy: bool = False,
) -> list[Ranked]:
    """The best rows that `where` lets pass, best first. One statement, whatever the mode.

    `has_policy`: a policy of the table filters, too. Raises `VectorError`.
    """
    statement = ranked_statement(
        searchable, question, mode=mode, limit=limit, where=where, has_policy=has_policy
    )
    return [Ranked(row.key, row.score) for row in await session.execute(statement)]


def ranked_statement(
    searchable: Searchable,
    question: Question,
    *,
    mode: Mode = "hybrid",
    limit: int = DEFAULT_LIMIT,
    where: Sequence[ColumnElement[bool]] = (),
    has_policy: bool = False,
) -> Select[Any]:
    """The statement of `search`: key, score."""
    size = capped(limit)
    if mode == "hybrid":
        meaning = _by_meaning(searchable, question, LIST_LENGTH, where, has_policy)
        words = _by_words(searchable, question, LIST_LENGTH, where)
        return _fused([(meaning, 1.0), (words, WORDS_WEIGHT)], size)
    if mode == "words":
        return _by_words(searchable, question, size, where)
    return _by_meaning(searchable, question, size, where, has_policy)


def _by_meaning(
    searchable: Searchable,
    question: Question,
    limit: int,
    where: Sequence[ColumnElement[bool]],
    has_policy: bool,
) -> Select[Any]:
    found = nearest_statement(
        Embedded(searchable.key, searchable.embedding),
        question.vector,
        limit=limit,
        where=(*where, *searchable.comparable),
        has_policy=has_policy,
    ).subquery("nearest")
    score = (1 - found.c.distance).label("score")
    return select(found.c.key, score).order_by(found.c.distance, found.c.key)


def _by_words(
    searchable: Searchable, question: Question, limit: int, where: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    worded = Worded(searchable.key, searchable.words, searchable.configuration)
    return words_statement(worded, question.text, limit=limit, where=where)


def _fused(lists: Sequence[tuple[Select[Any], float]], limit: int) -> Select[Any]:
    most = sum(weight for _, weight in lists) / (PLACES + 1)
    parts = []
    for number, (statement, weight) in enumerate(lists):
        found = materialized(statement, f"list_{number}")
        place = func.row_number().over(order_by=(found.c.score.desc(), found.c.key))
        share = literal(weight / most, Float(53)) / (PLACES + place)
        parts.append(select(found.c.key, share.label("share")))
    every = union_all(*parts).subquery("every")
    score = func.sum(every.c.share).label("score")
    return (
        select(every.c.key, score)
        .group_by(every.c.key)
        .order_by(score.desc(), every.c.key)
        .limit(limit)
    )
