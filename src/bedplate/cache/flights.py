"""Single flight: of many who miss the same entry at once, one loads, and all get what it loaded.

The load runs in a task of its own, so that a caller who is cancelled takes nobody else's answer
away; when the last one is gone it is cancelled, too. Forgotten, a flight goes on for those who
wait already: whoever comes after a commit starts another. Called by `cache.py`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Flight:
    """One load under way. `names`: what its value depends on."""

    task: "asyncio.Task[Any]"
    names: Sequence[str]
    waiters: int = 0


class Flights:
    """The loads of this process, by the entry's name."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._flights

    async def join(self, names: Sequence[str], load: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What the load under way returns; without one, what `load` returns. Raises as it does."""
        flight = self._flights.get(names[0])
        if flight is None:
            flight = Flight(asyncio.create_task(load(), name=f"cache {names[0]}"), names)
            self._flights[names[0]] = flight
            flight.task.add_done_callback(lambda _: self._end(flight))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._detach(flight)
                flight.task.cancel()

    def forget(self, names: Iterable[str]) -> None:
        """Let nobody join what depends on these names any more."""
        wanted = set(names)
        for flight in list(self._flights.values()):
            if not wanted.isdisjoint(flight.names):
                self._detach(flight)

    async def close(self) -> None:
        """Cancel every load, and wait until it has ended."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, flight: Flight) -> None:
        self._detach(flight)
        if not flight.task.cancelled():
            # Seen: the last caller may have left just before it failed.
            flight.task.exception()

    def _detach(self, flight: Flight) -> None:
        if self._flights.get(flight.names[0]) is flight:
            del self._flights[flight.names[0]]
