"""Progress: where a relay stands in what is due, so that it need not begin at the start each time.

What was taken stays in the index until vacuum, and for as long as any transaction of the server is
older; to begin at the start would be to read through all of it. But times are given before the
commit, so what commits late stands before the mark: each second, and whenever nothing is found
past the mark, the look begins at the start. So it is with the lanes: to find one is to read through
what was taken from it, and it is done as often.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from bedplate.jobs.ledger import Lane

WHOLE_LOOK = timedelta(seconds=1)
# An urgent lane is empty most of the time, and its next job must not wait for a whole look.
LANE_MEMORY = timedelta(minutes=1)


class Progress:
    """The mark in one index: where the last look found something."""

    def __init__(self) -> None:
        self._mark: datetime | None = None
        self._next_whole = 0.0

    def looks(self) -> Iterator[datetime | None]:
        """Where to begin, until something is found: at the mark, then at the start (None)."""
        if self._mark is not None and time.monotonic() < self._next_whole:
            yield self._mark
        yield None

    def note(self, times: Iterable[datetime], *, is_whole: bool) -> None:
        """When what was found had become due. `is_whole`: the look began at the start."""
        self._mark = min(times, default=self._mark)
        if is_whole:
            self._next_whole = time.monotonic() + WHOLE_LOOK.total_seconds()


class KnownLanes:
    """The lanes that looks at the start found, also those that are empty since a short while."""

    def __init__(self) -> None:
        self._seen: dict[Lane, float] = {}

    def but(self, closed: Collection[str]) -> list[Lane]:
        """Where to look for ready jobs: not in these queues."""
        return [lane for lane in self._seen if lane.queue not in closed]

    def note(self, found: Iterable[Lane]) -> None:
        """What a look at the start found; what none found for long is forgotten."""
        now = time.monotonic()
        oldest = now - LANE_MEMORY.total_seconds()
        kept = {lane: seen for lane, seen in self._seen.items() if seen > oldest}
        self._seen = kept | dict.fromkeys(found, now)
