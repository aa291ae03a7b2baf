"""Pages by key: the last row of a page is where the next one begins, however deep.

A cursor holds the key's values and a mark of the query that it belongs to. It is opaque, not
secret and not signed: who changes it reads another part of what the query shows anyway. Whatever
a client sends as a cursor ends in a page or in `CursorError`, never in a driver's error.
"""

import base64
import binascii
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NoReturn, TypeVar

from sqlalchemy import ColumnElement, Select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from bedplate.errors import CursorError

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
# Far more than two or three values need; what is longer is not looked at.
MAX_CURSOR_CHARACTERS = 1024

T = TypeVar("T")
KeyColumn = ColumnElement[Any] | InstrumentedAttribute[Any]


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows in order, and the cursor of the next page; None when this is the last."""

    items: Sequence[T]
    next: str | None = None


def capped(limit: int) -> int:
    """A page's size between 1 and `MAX_LIMIT`."""
    return max(1, min(limit, MAX_LIMIT))


async def fetch_page(
    session: AsyncSession,
    statement: Select[T],
    key: Sequence[KeyColumn],
    *,
    scope: Sequence[object],
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
    is_descending: bool = True,
) -> Page[T]:
    """One page of `statement` in the order of `key`, whose columns together are unique.

    The key's columns are attributes of the entity. `scope` is what makes this query another than
    the next: its name and the values of its filters. Raises `CursorError`.
    """
    if cursor is not None:
        after = decode_cursor(cursor, scope, [column.type.python_type for column in key])
        row, bound = tuple_(*key), tuple_(*after, types=[column.type for column in key])
        statement = statement.where(row < bound if is_descending else row > bound)
    order = [column.desc() if is_descending else column.asc() for column in key]
    size = capped(limit)
    rows = (await session.scalars(statement.order_by(*order).limit(size + 1))).all()
    return cut_page(rows, size, scope, lambda row: [getattr(row, c.key or "") for c in key])


def cut_page(
    rows: Sequence[T], size: int, scope: Sequence[object], key_of: Callable[[T], Sequence[object]]
) -> Page[T]:
    """A page of `size` rows, of which one more was fetched to know whether there is a next."""
    items = rows[:size]
    return Page(items, encode_cursor(scope, key_of(items[-1])) if len(rows) > size else None)


def encode_cursor(scope: Sequence[object], values: Sequence[object]) -> str:
    """The cursor for the rows after the one with these key values."""
    content = json.dumps([_mark(scope), *map(_to_json, values)], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, scope: Sequence[object], types: Sequence[type]) -> list[Any]:
    """The key values in a cursor, of the types given. Raises `CursorError`."""
    try:
        if len(cursor) > MAX_CURSOR_CHARACTERS:
            _refuse("is too long")
        padded = cursor + "=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
        content = json.loads(raw, parse_constant=_refuse)
        if not isinstance(content, list) or len(content) != len(types) + 1:
            _refuse("is not one of ours")
        if content[0] != _mark(scope):
            _refuse("belongs to another query")
        return [_READERS[kind](value) for kind, value in zip(types, content[1:], strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        if isinstance(error, CursorError):
            raise
        _refuse("is damaged")


def _mark(scope: Sequence[object]) -> str:
    return hashlib.sha256("\0".join(map(repr, scope)).encode()).hexdigest()[:12]


def _to_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    return value


def _read_datetime(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        _refuse("has a time without a zone")
    return moment.astimezone(UTC)


def _read_int(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        _refuse("has no valid number")
    return value


def _read_float(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        _refuse("has no valid number")
    return float(value)


def _read_str(value: Any) -> str:
    # PostgreSQL stores no NUL, and UTF-8 has no lone surrogates.
    if not isinstance(value, str) or "\0" in value or not value.isprintable():
        _refuse("has no valid text")
    return value


_READERS: dict[type, Callable[[Any], Any]] = {
    datetime: _read_datetime,
    uuid.UUID: lambda value: uuid.UUID(_read_str(value)),
    int: _read_int,
    float: _read_float,
    str: _read_str,
}


def _refuse(why: str) -> NoReturn:
    raise CursorError(f"the cursor {why}", hint="Leave the cursor out to begin at the first page.")
