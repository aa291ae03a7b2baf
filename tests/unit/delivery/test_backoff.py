"""How a destination that does not answer is left alone."""

import logging
from datetime import timedelta

import pytest

from bedplate.delivery.backoff import FIRST_BACKOFF, LONGEST_BACKOFF, Backoff


def test_pauses_double_up_to_a_limit() -> None:
    """Soon back after a hiccup, gentle with a server that is long away."""
    backoff = Backoff("broker")
    pauses = []
    for _ in range(8):
        backoff.fail(OSError("down"))
        pauses.append(backoff.pause)
    assert pauses[:3] == [FIRST_BACKOFF, FIRST_BACKOFF * 2, FIRST_BACKOFF * 4]
    assert pauses[-1] == LONGEST_BACKOFF
    assert not backoff.is_open


def test_many_failures_overflow_nothing() -> None:
    """A server may be away for a week."""
    backoff = Backoff("broker")
    for _ in range(5000):
        backoff.fail(OSError("down"))
    assert backoff.pause == LONGEST_BACKOFF


def test_success_forgets_the_failures() -> None:
    """The next failure is a first one again."""
    backoff = Backoff("broker")
    backoff.fail(OSError("down"))
    backoff.succeed()
    assert backoff.is_open
    backoff.fail(OSError("down"))
    assert backoff.pause == FIRST_BACKOFF > timedelta(0)


def test_down_and_up_are_said_once_each(caplog: pytest.LogCaptureFixture) -> None:
    """A log that says each second that Redis is down hides everything else."""
    backoff = Backoff("broker")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            backoff.fail(OSError("down"))
        for _ in range(3):
            backoff.succeed()
    assert len(caplog.records) == 2
