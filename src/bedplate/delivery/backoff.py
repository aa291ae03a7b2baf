"""Backoff: how long the relay leaves a destination alone, so that one that is down stops no other.

The destination's fault is not the messages': none of their attempts is spent meanwhile.
"""

import logging
import time
from datetime import timedelta

log = logging.getLogger("bedplate.delivery.relay")

FIRST_BACKOFF = timedelta(milliseconds=250)
LONGEST_BACKOFF = timedelta(seconds=5)


class Backoff:
    """How long to leave one destination alone. Says once that it is down, once that it is back."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._failures = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the destination may be tried now."""
        return time.monotonic() >= self._until

    @property
    def pause(self) -> timedelta:
        """What it waits after the failures so far."""
        doublings = min(max(self._failures - 1, 0), 10)
        return min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)

    def fail(self, error: Exception) -> None:
        """It did not answer."""
        self._failures += 1
        self._until = time.monotonic() + self.pause.total_seconds()
        if self._failures == 1:
            log.warning(
                "A destination does not answer; what it is to be told waits in PostgreSQL",
                extra={"destination": self.destination, "error": str(error)},
            )

    def succeed(self) -> None:
        """It answered."""
        if self._failures:
            log.info("A destination answers again", extra={"destination": self.destination})
        self._failures = 0
        self._until = 0.0
