"""One connection in a room: what it still has to be told, and who it is."""

import asyncio
import uuid

from pydantic import BaseModel

from bedplate.cache.channels import Numbered
from bedplate.cache.presence import Present
from bedplate.fastapi import Socket
from bedplate.rows.ids import new_id
from systems.live_agent.live.wire import Member

SIGNED_OUT = 4401
DEACTIVATED = 4403
ENDED = 4410


class Seat:
    """A socket and its member. Events wait until it was welcomed; each goes out once."""

    def __init__(self, socket: Socket, member: Member) -> None:
        self.id = str(new_id())
        self.member = member
        self._socket = socket
        self._position = 0
        self._waiting: list[Numbered] | None = []
        self.is_welcomed = asyncio.Event()

    @property
    def present(self) -> Present:
        """As presence knows it."""
        return Present(str(self.member.id), self.member.name)

    def welcome(self, welcome: BaseModel, position: int) -> None:
        """The first thing that it is told, which holds all up to a position; then what waited."""
        self._socket.send(welcome.model_dump_json())
        waiting, self._waiting = self._waiting or [], None
        self._position = position
        for event in waiting:
            self.deliver(event)
        self.is_welcomed.set()

    def deliver(self, event: Numbered) -> None:
        """Have an event go out."""
        if self._waiting is not None:
            self._waiting.append(event)
        elif event.position > self._position:
            self._position = event.position
            self._socket.send(event.text)

    def tell(self, said: BaseModel) -> None:
        """Have something go out that is no event."""
        if self._waiting is None:
            self._socket.send(said.model_dump_json())

    def close(self, code: int, reason: str) -> None:
        """Have it go out of the room; the rest follows from its socket's end."""
        self._socket.close(code, reason)


def member_of(present: Present) -> Member:
    """Back from what presence knows."""
    return Member(id=uuid.UUID(present.member), name=present.about)
