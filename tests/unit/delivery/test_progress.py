"""A relay begins where it stood, and never forgets what is before that."""

from datetime import UTC, datetime, timedelta

import pytest

from bedplate.delivery import progress
from bedplate.delivery.progress import KnownLanes, Progress
from bedplate.jobs.ledger import Lane

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


def test_a_lane_that_is_empty_now_is_still_looked_at() -> None:
    """The next urgent job of a busy queue must not wait for a look at the start."""
    own = KnownLanes()
    own.note([Lane("default", 9), Lane("default", 0)])
    own.note([Lane("default", 0)])
    assert set(own.but(())) == {Lane("default", 9), Lane("default", 0)}


def test_a_lane_that_was_empty_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a look, and queues come and go."""
    monkeypatch.setattr(progress, "LANE_MEMORY", timedelta(0))
    own = KnownLanes()
    own.note([Lane("once", 0)])
    own.note([Lane("default", 0)])
    assert set(own.but(())) == {Lane("default", 0)}


def test_a_full_queue_is_left_out_and_not_forgotten() -> None:
    """What was sent to it waits for workers already; when they come, it is open again."""
    own = KnownLanes()
    own.note([Lane("full", 0), Lane("default", 0)])
    assert own.but({"full"}) == [Lane("default", 0)]
    assert own.but(()) == [Lane("full", 0), Lane("default", 0)]
