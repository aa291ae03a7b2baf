"""When a server that died is started again: at once, then ever later while it keeps dying."""

# Before each next try; the last one for all that follow.
BACKOFF_SECONDS = (0.0, 0.2, 1.0, 5.0, 15.0, 30.0)
# A server that ran this long before it died is restarted at once again.
STEADY_SECONDS = 60.0


class Restarts:
    """The plan of restarts, by the server's name. Times are those of `time.monotonic`."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def plan(self, name: str, now: float) -> float:
        """A server has died, or could not be restarted. Returns the seconds until the next try."""
        if now - self._last.get(name, now) > STEADY_SECONDS:
            self._tries[name] = 0
        tries = self._tries.get(name, 0)
        delay = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)]
        self._tries[name] = tries + 1
        self._last[name] = now + delay
        self._due[name] = now + delay
        return delay

    def take_due(self, now: float) -> list[str]:
        """The servers to restart now; each is named once."""
        names = [name for name, due in self._due.items() if due <= now]
        for name in names:
            del self._due[name]
        return names

    def seconds_to_next(self, now: float, most: float) -> float:
        """How long the loop may wait."""
        return max(0.0, min([most, *(due - now for due in self._due.values())]))
