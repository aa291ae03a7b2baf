"""Rows that have the words of a question, best first, as BM25 ranks: by how rare a word is here.

For a question in whole sentences: each of its words counts, and none is required. (`search.py` is
for a search box: every word, phrases, `-` and `or`.) What costs is bounded: a word's rows are
counted up to a limit, and rows are looked for by the rarest words until there are enough of them.

How often a row has a word is read from `ts_rank`, which adds 1, 1/4, 1/9 … for each time it is
there: its sum tells the number, without unpacking the vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    String,
    Subquery,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
    true,
)
from sqlalchemy.dialects.postgresql import REGCLASS, REGCONFIG, TSQUERY

from bedplate.rows.nearest import materialized
from bedplate.rows.pagination import DEFAULT_LIMIT
from bedplate.rows.search import cleaned
from bedplate.rows.vectors import AnyColumn

# What is longer is cut, and of what is left no more words than this count.
MAX_QUESTION_CHARACTERS = 2000
MAX_WORDS = 64
# So many rows are ranked, or a few more; and so far the rows of a word are counted.
CANDIDATES = 2000
# What a word that is in more rows than are counted is taken to be in: a tenth of them.
FREQUENT = 0.1
# BM25's usual constants: how soon a word's repetition stops to count, and how much length does.
K1 = 1.2
B = 0.75
# ts_rank divides its sum by this, the sum of 1/n² over all n.
SUM_OF_SQUARES = 1.64493406685


@dataclass(frozen=True)
class Worded:
    """The columns of what is found: a unique key, and a tsvector with a GIN index."""

    key: AnyColumn
    words: AnyColumn
    configuration: str = "english"


def words_statement(
    worded: Worded,
    question: str,
    *,
    limit: int = DEFAULT_LIMIT,
    where: Sequence[ColumnElement[bool]] = (),
) -> Select[Any]:
    """Key and score of the best rows that have at least one word of the question; any text will do.

    The words are those of `configuration`, without its stop words.
    """
    asked = _asked(worded, question)
    weighed = _weighed(worded, asked)
    candidates = _candidates(worded, weighed, where)
    scores = _scores(worded, weighed, candidates)
    return (
        select(scores.c.key, scores.c.score)
        .where(scores.c.score > 0)
        .order_by(scores.c.score.desc(), scores.c.key)
        .limit(limit)
    )


def _asked(worded: Worded, question: str) -> CTE:
    """Each word of the question once, as a query of its own."""
    vector = func.to_tsvector(
        cast(worded.configuration, REGCONFIG), cleaned(question, MAX_QUESTION_CHARACTERS)
    )
    word = func.unnest(vector).table_valued("lexeme", "positions", "weights", name="word")
    # As tsquery reads a quoted word; quote_literal would quote as SQL does.
    escaped = func.replace(func.replace(word.c.lexeme, "\\", "\\\\"), "'", "''")
    query = cast(func.concat("'", escaped, "'"), TSQUERY)
    return materialized(select(query.label("query")).limit(MAX_WORDS), "asked")


def _weighed(worded: Worded, asked: CTE) -> CTE:
    """Each word that is there, with its weight, and how many rows the rarer ones have together."""
    having = select(worded.key.label("key")).where(worded.words.op("@@")(asked.c.query))
    rows = _counted(having.correlate(asked)).correlate(asked)
    counted = materialized(select(asked.c.query, rows.scalar_subquery().label("rows")), "counted")
    every = _counted(select(worded.key.label("key")))
    total = func.greatest(every.scalar_subquery(), _estimate(worded))
    sized = materialized(select(total.label("rows")), "sized")
    holding = case(
        (counted.c.rows > CANDIDATES, func.greatest(counted.c.rows, sized.c.rows * FREQUENT)),
        else_=counted.c.rows,
    )
    rarer_first = (counted.c.rows, cast(counted.c.query, String))
    statement = (
        select(
            counted.c.query,
            func.ln(1 + (sized.c.rows - holding + 0.5) / (holding + 0.5)).label("weight"),
            (func.sum(counted.c.rows).over(order_by=rarer_first) - counted.c.rows).label("before"),
        )
        .join_from(counted, sized, true())
        .where(counted.c.rows > 0)
    )
    return materialized(statement, "weighed")


def _counted(rows: Select[Any]) -> Select[Any]:
    """How many rows, as far as that is counted."""
    return select(func.count()).select_from(rows.limit(CANDIDATES + 1).subquery("some"))


def _estimate(worded: Worded) -> ColumnElement[Any]:
    """What the server believes that the table holds; below 0 where it has not looked yet."""
    catalogue = table("pg_class", column("oid"), column("reltuples"), schema="pg_catalog")
    name: str = worded.key.table.fullname
    statement = select(catalogue.c.reltuples).where(catalogue.c.oid == cast(name, REGCLASS))
    return statement.scalar_subquery()


def _candidates(worded: Worded, weighed: CTE, where: Sequence[ColumnElement[bool]]) -> CTE:
    """Rows that have one of the rarest words, until there are enough."""
    having = (
        select(worded.key.label("key"))
        .where(worded.words.op("@@")(weighed.c.query), *where)
        .limit(CANDIDATES)
        .correlate(weighed)
        .lateral("having")
    )
    statement = (
        select(having.c.key)
        .select_from(weighed.join(having, true()))
        .where(weighed.c.before < CANDIDATES)
        .distinct()
    )
    return materialized(statement, "candidates")


def _scores(worded: Worded, weighed: CTE, candidates: CTE) -> Subquery:
    """BM25, with the candidates' mean length for all rows'."""
    length = func.length(worded.words)
    measured = materialized(
        select(
            worded.key.label("key"),
            worded.words.label("words"),
            (length / func.avg(length).over()).label("length"),
        ).join(candidates, candidates.c.key == worded.key),
        "measured",
    )
    rank = func.ts_rank(literal_column("'{1,1,1,1}'::real[]"), measured.c.words, weighed.c.query)
    times = 1 / (SUM_OF_SQUARES * (1 - rank)) - 0.5
    counting = weighed.c.weight * times * (K1 + 1) / (times + K1 * (1 - B + B * measured.c.length))
    score = (
        # Once is 0.6; no word at all is no less than 0.
        select(func.sum(counting).label("score"))
        .where(rank > 0.5)
        .correlate(measured)
        .lateral("scored")
    )
    return (
        select(measured.c.key, score.c.score)
        .select_from(measured.join(score, true()))
        .subquery("scores")
    )
