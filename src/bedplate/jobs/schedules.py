"""Schedules: when a periodic task is due, as pure functions of one instant to the next.

    @task(every=timedelta(minutes=5))
    @task(cron="30 2 * * mon-fri", time_zone="Europe/Berlin")

The ticks of a schedule are the same whoever asks, and whenever: that is what lets any number of
schedulers agree on them. Cron's are those of Debian's cron: a time of day that the clocks skip is
due right after the gap, one that they show twice is due once; what comes every hour or minute
goes on in real time. Called by `tasks.py` and the scheduler.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(seconds=1)
# cronsim, begun in an hour that the clocks show twice, gives ticks of its first showing again. So
# it is begun well before, and asked until it is past: no zone's clocks jump by so much.
RUN_UP = timedelta(hours=4)


@dataclass(frozen=True)
class Every:
    """A tick at each multiple of the interval since 1970, in UTC."""

    interval: timedelta

    def __post_init__(self) -> None:
        if self.interval < SHORTEST:
            raise ValueError(f"every is {self.interval}, and must be a second or more")

    def __str__(self) -> str:
        return f"every {self.interval.total_seconds():g} s"

    def next_after(self, instant: datetime) -> datetime:
        """The first tick later than the instant."""
        return EPOCH + ((instant - EPOCH) // self.interval + 1) * self.interval


@dataclass(frozen=True)
class Cron:
    """The ticks of a cron expression of five fields, in a time zone."""

    expression: str
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            next(CronSim(self.expression, EPOCH.astimezone(self._zone())))
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"cron {self.expression!r} is never due: {error}") from error

    def __str__(self) -> str:
        return f"{self.expression} {self.time_zone}"

    def next_after(self, instant: datetime) -> datetime:
        """The first tick later than the instant, in UTC."""
        for tick in CronSim(self.expression, (instant - RUN_UP).astimezone(self._zone())):
            if tick.astimezone(UTC) > instant:
                return tick.astimezone(UTC)
        raise ValueError(f"cron {self.expression!r} is not due within 50 years of {instant}")

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no time zone is named {self.time_zone!r}") from error


Schedule = Every | Cron


def schedule_of(
    every: timedelta | None, cron: str | None, time_zone: str | None
) -> Schedule | None:
    """The schedule that a task declares; None when it has none. Raises `ValueError`."""
    if every is not None and cron is not None:
        raise ValueError("give every or cron, and not both")
    if time_zone is not None and cron is None:
        raise ValueError("time_zone belongs to cron")
    if every is not None:
        return Every(every)
    return None if cron is None else Cron(cron, time_zone or "UTC")
