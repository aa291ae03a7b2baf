"""The rooms that this process serves: made with the first seat, closed with the last.

One `Rooms` stands in the state of the application.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bedplate.fastapi import Problem
from bedplate.layer import DataLayer
from systems.live_agent.live.room import Room
from systems.live_agent.live.seat import Seat

# Of one member in one process: tabs and devices, and no more.
MOST_SEATS = 20


class Rooms:
    """Rooms by their session."""

    def __init__(self, layer: DataLayer) -> None:
        self._layer = layer
        self._rooms: dict[uuid.UUID, Room] = {}
        self._seats: Counter[uuid.UUID] = Counter()

    @asynccontextmanager
    async def seated(
        self, organization_id: uuid.UUID, session_id: uuid.UUID, seat: Seat
    ) -> AsyncIterator[Room]:
        """A seat in a room, and out of it at the end of the block. Raises `BedplateError`."""
        room = self._rooms.get(session_id)
        if room is None:
            room = self._rooms[session_id] = Room(self._layer, organization_id, session_id)
        try:
            await room.seat(seat)
            yield room
        finally:
            # Also when the server stops and cancels: the others must not wait for its time to end.
            await asyncio.shield(self._leave(room, session_id, seat))

    @asynccontextmanager
    async def counted(self, member_id: uuid.UUID) -> AsyncIterator[None]:
        """One more seat of a member. Raises a 429 when it has too many."""
        if self._seats[member_id] >= MOST_SEATS:
            raise Problem(429, f"At most {MOST_SEATS} connections at once.", code="too_many_seats")
        self._seats[member_id] += 1
        try:
            yield
        finally:
            self._seats[member_id] -= 1
            if not self._seats[member_id]:
                del self._seats[member_id]

    async def _leave(self, room: Room, session_id: uuid.UUID, seat: Seat) -> None:
        await room.leave(seat)
        if not room.seats:
            if self._rooms.get(session_id) is room:
                del self._rooms[session_id]
            await room.close()
