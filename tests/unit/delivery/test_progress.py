"""A relay begins where it stood, and never forgets what is before that."""

from datetime import UTC, datetime, timedelta

from bedplate.delivery import progress
from bedplate.delivery.progress import Progress

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_first_look_begins_at_the_start() -> None:
    """Nothing is known yet."""
    assert list(Progress().looks()) == [None]


def test_after_a_find_it_looks_at_the_mark_and_then_at_the_start() -> None:
    """What commits late has an earlier time: nothing at the mark does not mean nothing."""
    own = Progress()
    own.note([NOON + timedelta(1), NOON], is_whole=True)
    assert list(own.looks()) == [NOON, None]
    own.note([], is_whole=False)
    assert list(own.looks()) == [NOON, None]


def test_each_second_it_looks_at_the_start_first() -> None:
    """A backlog past the mark must not keep waiting what stands before it."""
    own = Progress()
    own.note([NOON], is_whole=False)
    assert timedelta(seconds=1) >= progress.WHOLE_LOOK
    assert list(own.looks()) == [None]
