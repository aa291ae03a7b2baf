"""Full-text search over passages: ranked, highlighted, in each passage's own language, by page.

For any table of passages (`Passages` names its columns) with an index on the configuration and a
GIN index on the tsvector WITH (fastupdate = off): a list of pending entries makes the planner
read every passage instead (measured with 10,200 passages: 660 ms, and 32 ms by the index). The
input is a person's: every string is a valid search, quotes mean a phrase, `or` and `-` work as on
the web.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    REAL,
    ColumnElement,
    FromClause,
    Select,
    SelectBase,
    Subquery,
    and_,
    func,
    literal,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.pagination import DEFAULT_LIMIT, Page, capped, cut_page, decode_cursor
from bedplate.rows.passages import PASSAGE_BYTES, cut_passages, regconfig_for

__all__ = [
    "PASSAGE_BYTES",
    "Highlight",
    "Hit",
    "Passages",
    "cut_passages",
    "regconfig_for",
    "search_page",
    "search_statement",
]

# What is longer is no search of a person, and one word of more than 2,046 bytes is an error.
MAX_QUERY_CHARACTERS = 256
# 1: divided by 1 + the logarithm of the passage's length. 32: rank / (rank + 1), so 0 … 1.
RANK_NORMALISATION = 1 | 32
# Around a match. They are taken out of the text first, so that none of it can be mistaken.
_BEGIN, _END = "\x02", "\x03"
_HEADLINE_OPTIONS = (
    f'StartSel="{_BEGIN}", StopSel="{_END}", '
    'MaxFragments=2, MaxWords=30, MinWords=10, FragmentDelimiter=" … "'
)


@dataclass(frozen=True)
class Passages:
    """The columns of a table of passages; (document, position) is unique."""

    document: ColumnElement[Any]
    position: ColumnElement[int]
    content: ColumnElement[str]
    configuration: ColumnElement[Any]
    vector: ColumnElement[Any]


@dataclass(frozen=True)
class Highlight:
    """A piece of a found passage; `is_match` where it is what was searched for."""

    text: str
    is_match: bool


@dataclass(frozen=True)
class Hit:
    """A document that was found: its best passage, with the matches marked in an excerpt."""

    document: Any
    position: int
    rank: float
    excerpt: tuple[Highlight, ...]

    def html(self) -> str:
        """The excerpt as HTML: everything escaped, matches in <mark>."""
        return "".join(
            f"<mark>{html.escape(piece.text)}</mark>" if piece.is_match else html.escape(piece.text)
            for piece in self.excerpt
        )


async def search_page(
    session: AsyncSession,
    passages: Passages,
    query: str,
    *,
    documents: SelectBase | None = None,
    scope: Sequence[object] = (),
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[Hit]:
    """The documents that match, best first; of each its best passage.

    `documents` selects the ids that may be found (None: all); `scope` is what else tells this
    search from another. Raises `CursorError`.
    """
    searched = cleaned(query)
    bound = ("search", searched, *scope)
    kinds: list[type] = [float, passages.document.type.python_type]
    after = decode_cursor(cursor, bound, kinds) if cursor is not None else None
    size = capped(limit)
    statement = search_statement(
        passages, searched, documents=documents, after=after, limit=size + 1
    )
    rows = (await session.execute(statement)).all()
    hits = [Hit(row.document, row.position, row.rank, _pieces(row.headline)) for row in rows]
    return cut_page(hits, size, bound, lambda hit: (hit.rank, hit.document))


def search_statement(
    passages: Passages,
    query: str,
    *,
    documents: SelectBase | None = None,
    after: Sequence[Any] | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Select[Any]:
    """The statement of `search_page`: document, position, rank, headline.

    Only the rows of the page are read in full and highlighted, since that is what costs.
    """
    best = _best(passages, cleaned(query), documents)
    ranked = select(best)
    if after is not None:
        rank, document = after
        ranked = ranked.where(
            tuple_(-best.c.rank, best.c.document)
            > tuple_(literal(-rank, REAL), literal(document, passages.document.type))
        )
    page = ranked.order_by(best.c.rank.desc(), best.c.document).limit(limit).subquery("page")
    plain = func.translate(passages.content, _BEGIN + _END, "")
    return (
        select(
            page.c.document,
            page.c.position,
            page.c.rank,
            func.ts_headline(page.c.configuration, plain, page.c.query, _HEADLINE_OPTIONS).label(
                "headline"
            ),
        )
        .join_from(
            page,
            _table(passages),
            and_(passages.document == page.c.document, passages.position == page.c.position),
        )
        .order_by(page.c.rank.desc(), page.c.document)
    )


def _best(passages: Passages, query: str, documents: SelectBase | None) -> Subquery:
    """The best passage of each document that matches."""
    present = _configurations(passages)
    asked = (
        select(
            present.c.configuration,
            func.websearch_to_tsquery(present.c.configuration, query, type_=TSQUERY).label("query"),
        )
        .where(present.c.configuration.is_not(None))
        # Computed once for each configuration, and not again for each passage.
        .cte("asked")
        .prefix_with("MATERIALIZED")
    )
    # A lateral join: for each configuration the index is asked with that one's query.
    found = (
        select(
            passages.document.label("document"),
            passages.position.label("position"),
            func.ts_rank_cd(passages.vector, asked.c.query, RANK_NORMALISATION, type_=REAL).label(
                "rank"
            ),
        )
        .where(
            passages.vector.op("@@")(asked.c.query),
            # Not "=", for which the planner takes the configuration's index: it does not know
            # that comparing vectors one by one means fetching each, out of line and compressed.
            passages.configuration.is_not_distinct_from(asked.c.configuration),
        )
        .correlate(asked)
        # Keeps the planner from making one join of it all, by the configuration, without the index.
        .offset(0)
    )
    if documents is not None:
        found = found.where(passages.document.in_(documents))
    each = found.lateral("found")
    return (
        select(each.c.document, each.c.position, each.c.rank, asked.c.configuration, asked.c.query)
        .select_from(asked.join(each, true()))
        # Only exclusions, or only stop words: no index can answer, and nothing was asked for.
        .where(func.querytree(asked.c.query).not_in(["", "T"]))
        # SQLAlchemy 2.1 deprecates distinct(…) with columns, and 2.0 has nothing else for it.
        .prefix_with(text("DISTINCT ON (found.document)"))
        .order_by(each.c.document, each.c.rank.desc(), each.c.position)
        .subquery("best")
    )


def _configurations(passages: Passages) -> FromClause:
    """Every configuration present: one step along its index for each, not one for each passage."""
    column = passages.configuration
    first = (
        select(column.label("configuration"))
        .order_by(column)
        .limit(1)
        .cte("present", recursive=True)
    )
    step = select(column).where(column > first.c.configuration).order_by(column).limit(1)
    following = select(step.correlate(first).scalar_subquery()).where(
        first.c.configuration.is_not(None)
    )
    return first.union_all(following)


def _table(passages: Passages) -> FromClause:
    table: FromClause = passages.content.table
    return table


def cleaned(query: str, most: int = MAX_QUERY_CHARACTERS) -> str:
    """What PostgreSQL accepts as text: no NUL, no lone surrogate, not endless."""
    short = query[:most].replace("\0", " ")
    return short.encode(errors="replace").decode()


def _pieces(headline: str) -> tuple[Highlight, ...]:
    pieces: list[Highlight] = []
    for index, part in enumerate(headline.split(_BEGIN)):
        matched, end, rest = part.partition(_END) if index else ("", "", part)
        pieces.append(Highlight(matched, is_match=True) if end else Highlight(matched, False))
        pieces.append(Highlight(rest, is_match=False))
    return tuple(piece for piece in pieces if piece.text)
