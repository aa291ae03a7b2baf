"""The near cache: values in this process, dropped when Redis says that their keys have changed.

Bounded by entries and bytes; the oldest go first. A value is put in only under a ticket that was
taken before Redis was asked: an invalidation that arrives between the answer and the put voids it.
Values are handed out as they are: whoever reads one must not change it. Called by `cache.py`.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_ENTRIES = 100_000
# A dictionary's and an object's own share, roughly.
OVERHEAD_BYTES = 512


@dataclass(slots=True)
class NearEntry:
    """One value. `names`: what it depends on, the entry's own name first, then its tags'."""

    value: Any
    deadline: float
    names: Sequence[str]
    size_bytes: int


@dataclass(slots=True, eq=False)
class Ticket:
    """The right to put a value in, until a name that it depends on is forgotten."""

    names: Sequence[str]
    is_void: bool = False


@dataclass(slots=True)
class NearCache:
    """Entries by name."""

    limit_bytes: int
    most_entries: int = MOST_ENTRIES
    size_bytes: int = 0
    entries: dict[str, NearEntry] = field(default_factory=dict)
    _dependants: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _tickets: defaultdict[str, set[Ticket]] = field(default_factory=lambda: defaultdict(set))

    def find(self, name: str) -> NearEntry | None:
        """The entry, unless it is too old."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        if time.monotonic() >= entry.deadline:
            self._drop(name)
            return None
        return entry

    def ticket(self, names: Sequence[str]) -> Ticket:
        """Take it before asking Redis; `put` or `give_back` ends it."""
        ticket = Ticket(names)
        for name in names:
            self._tickets[name].add(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """End a ticket. Twice is once."""
        for name in ticket.names:
            waiting = self._tickets.get(name)
            if waiting is not None:
                waiting.discard(ticket)
                if not waiting:
                    del self._tickets[name]

    def put(self, ticket: Ticket, value: Any, lasts: float, size_bytes: int) -> None:
        """Keep a value for `lasts` seconds, unless the ticket is void or it is too large."""
        self.give_back(ticket)
        size = size_bytes + OVERHEAD_BYTES
        if ticket.is_void or lasts <= 0 or size > self.limit_bytes:
            return
        name = ticket.names[0]
        self._drop(name)
        self.entries[name] = NearEntry(value, time.monotonic() + lasts, ticket.names, size)
        self.size_bytes += size
        for each in ticket.names:
            self._dependants[each].add(name)
        while self.size_bytes > self.limit_bytes or len(self.entries) > self.most_entries:
            self._drop(next(iter(self.entries)))

    def forget(self, names: Iterable[str]) -> None:
        """Drop what depends on these names, and void the tickets of what is on its way."""
        for name in names:
            for ticket in self._tickets.pop(name, ()):
                ticket.is_void = True
            for dependant in list(self._dependants.get(name, ())):
                self._drop(dependant)

    def clear(self) -> None:
        """Drop everything, and void every ticket."""
        for tickets in self._tickets.values():
            for ticket in tickets:
                ticket.is_void = True
        self._tickets.clear()
        self._dependants.clear()
        self.entries.clear()
        self.size_bytes = 0

    def _drop(self, name: str) -> None:
        entry = self.entries.pop(name, None)
        if entry is None:
            return
        self.size_bytes -= entry.size_bytes
        for each in entry.names:
            dependants = self._dependants[each]
            dependants.discard(name)
            if not dependants:
                del self._dependants[each]
