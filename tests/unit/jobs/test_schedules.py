"""Schedules: the same ticks whoever asks, over leap days and summer time (fault 39)."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from bedplate.jobs.schedules import Cron, Every, Schedule

BERLIN = "Europe/Berlin"
# The clocks of Berlin went forward at 01:00 UTC on 29 March, back at 01:00 UTC on 25 October.
FORWARD = datetime(2026, 3, 28, 12, tzinfo=UTC)
BACK = datetime(2026, 10, 24, 12, tzinfo=UTC)


def ticks(schedule: Schedule, start: datetime, count: int) -> list[str]:
    """The next ticks, as local times."""
    found = []
    for _ in range(count):
        start = schedule.next_after(start)
        found.append(start.strftime("%d %H:%M"))
    return found


def test_a_time_that_the_clocks_skip_is_due_after_the_gap() -> None:
    """A nightly backup must not be left out because that night has no half past two."""
    nightly = Cron("30 2 * * *", BERLIN)
    assert ticks(nightly, FORWARD, 2) == ["29 01:00", "30 00:30"]


def test_a_time_that_the_clocks_show_twice_is_due_once() -> None:
    """Nor may it be made twice in the night that has two."""
    nightly = Cron("30 2 * * *", BERLIN)
    assert ticks(nightly, BACK, 2) == ["25 00:30", "26 01:30"]


def test_what_comes_every_hour_goes_on_in_real_time() -> None:
    """25 times on the day that has 25 hours."""
    hourly = Cron("0 * * * *", BERLIN)
    assert ticks(hourly, BACK + timedelta(hours=11, minutes=30), 4) == [
        "25 00:00",
        "25 01:00",
        "25 02:00",
        "25 03:00",
    ]


def test_the_leap_day_comes_every_four_years() -> None:
    """And not in a year of a full century."""
    leap = Cron("0 0 29 2 *")
    found = datetime(2092, 1, 1, tzinfo=UTC)
    years = []
    for _ in range(3):
        found = leap.next_after(found)
        years.append(found.year)
    assert years == [2092, 2096, 2104]


@pytest.mark.parametrize("expression", ["30 2 * * *", "*/20 * * * *", "15 1-3 * * *", "0 0 1 * *"])
@pytest.mark.parametrize("zone", [BERLIN, "Australia/Lord_Howe", "America/St_Johns", "UTC"])
@pytest.mark.parametrize("start", [FORWARD, BACK, datetime(2026, 4, 4, 12, tzinfo=UTC)])
def test_the_next_tick_is_the_same_from_any_instant_before_it(
    expression: str, zone: str, start: datetime
) -> None:
    """A scheduler that begins in the hour that comes twice must not see ticks of its own."""
    cron = Cron(expression, zone)
    chance = random.Random(39)  # noqa: S311 - it is to be repeatable
    tick = cron.next_after(start)
    for _ in range(30):
        following = cron.next_after(tick)
        assert following > tick
        for _ in range(5):
            between = tick + (following - tick) * chance.random()
            assert cron.next_after(between) == following
        tick = following


def test_an_interval_is_counted_from_one_origin() -> None:
    """Two schedulers that begin at different times agree; summer time does not concern it."""
    every = Every(timedelta(minutes=7))
    first = every.next_after(FORWARD)
    assert every.next_after(first - timedelta(seconds=1)) == first
    assert every.next_after(first) == first + timedelta(minutes=7)
