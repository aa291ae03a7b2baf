"""Cursors: exact for what we made, `CursorError` for everything else."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bedplate.errors import CursorError
from bedplate.rows.pagination import (
    MAX_LIMIT,
    Page,
    capped,
    cut_page,
    decode_cursor,
    encode_cursor,
)

SCOPE = ("documents", "reader 1")


def forge(*values: Any, scope: tuple[str, ...] = SCOPE) -> str:
    """A cursor that is well formed and bound to the query, with values that a client chose."""
    mark = json.loads(_unpadded(encode_cursor(scope, [])))[0]
    return base64.urlsafe_b64encode(json.dumps([mark, *values]).encode()).decode().rstrip("=")


def _unpadded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC),
        uuid.UUID("01a200c5-d813-71b2-b66e-e646e9997ecd"),
        0.006211891770362854,
        -(2**63),
        "naïve café",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_cursor_gives_back_exactly_what_it_was_made_of(value: object) -> None:
    """A microsecond or a last bit lost would skip rows or show them twice."""
    assert decode_cursor(encode_cursor(SCOPE, [value]), SCOPE, [type(value)]) == [value]


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    """The server's zone is a setting, and a cursor outlives its change."""
    there = datetime(2026, 11, 22, 3, 0, tzinfo=timezone(timedelta(hours=2)))
    assert decode_cursor(encode_cursor(SCOPE, [there]), SCOPE, [datetime]) == [there]


def test_a_cursor_of_another_query_is_refused() -> None:
    """Its key would be compared with another order: silently wrong pages."""
    cursor = encode_cursor(SCOPE, [1])
    with pytest.raises(CursorError, match="another query"):
        decode_cursor(cursor, ("documents", "reader 2"), [int])


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "%%%", "é", "bnVsbA", "W10", "WzFd", "eyJhIjoxfQ", "A" * 5000, "W" * 1000, "\ud800"],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """Any text can stand in a URL: none of it may become a 500."""
    with pytest.raises(CursorError) as caught:
        decode_cursor(cursor, SCOPE, [int])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2**63, int),
        (True, int),
        ("1", int),
        (float("nan"), float),
        (float("inf"), float),
        (10**400, float),
        ("2026-11-22T00:00:00", datetime),
        ("0001-01-01T00:00:00+14:00", datetime),
        ("soon", datetime),
        (5, datetime),
        ("not-an-id", uuid.UUID),
        (7, uuid.UUID),
        (None, uuid.UUID),
        ("a\0b", str),
        ("\ud800", str),
        ([], str),
    ],
)
def test_values_that_the_driver_would_stumble_on_are_refused(value: object, kind: type) -> None:
    """A cursor is unsigned: whoever knows the format can put anything in it."""
    with pytest.raises(CursorError):
        decode_cursor(forge(value), SCOPE, [kind])


def test_a_cursor_with_too_few_or_too_many_values_is_refused() -> None:
    """The key has as many columns as it has."""
    for values in ([], [1], [1, 2, 3]):
        with pytest.raises(CursorError):
            decode_cursor(forge(*values), SCOPE, [int, int])


@pytest.mark.parametrize(("asked", "given"), [(-1, 1), (0, 1), (7, 7), (10**9, MAX_LIMIT)])
def test_a_limit_is_capped(asked: int, given: int) -> None:
    """A page is never the whole table, and never empty by the limit."""
    assert capped(asked) == given


def test_only_a_page_with_more_behind_it_has_a_next() -> None:
    """A client that follows `next` ends, without one empty request at the end."""
    assert cut_page([1, 2], 2, SCOPE, lambda row: [row]) == Page([1, 2], None)
    page = cut_page([1, 2, 3], 2, SCOPE, lambda row: [row])
    assert page.items == [1, 2]
    assert page.next is not None
    assert decode_cursor(page.next, SCOPE, [int]) == [2]
