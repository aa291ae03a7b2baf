"""A session's room in this process: one feed for all that sit in it here.

Events come by the feed, so each seat gets each once and in order, from whichever process it came.
Who is there is in Redis; every few seconds the room says again who sits here, looks who vanished
elsewhere, and whether all may still be here. While Redis is away events come from PostgreSQL.
"""

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select

from bedplate.cache.channels import Live, Lost, Numbered
from bedplate.cache.feed import Feed
from bedplate.cache.presence import Place, Presence
from bedplate.errors import BedplateError, RedisUnreachableError
from bedplate.layer import DataLayer
from systems.live_agent.live import history
from systems.live_agent.live.history import Happened, channel_of
from systems.live_agent.live.seat import DEACTIVATED, ENDED, Seat, member_of
from systems.live_agent.live.wire import Event, Interrupted, PresenceTold, Resumed, Welcome
from systems.live_agent.models import EventKind, Session, SessionStatus, User

log = logging.getLogger("systems.live_agent.live")

BEAT = timedelta(seconds=10)
# Three beats may fail before somebody is taken for gone.
PRESENCE_LASTS = 3 * BEAT + timedelta(seconds=5)
SHOWN_EVENTS = 50
# A room whose channel is not heard by then is served by the database alone.
PATIENCE = timedelta(seconds=2)


class Room:
    """Made with its first seat, closed with its last; see `rooms.py`."""

    def __init__(self, layer: DataLayer, organization_id: uuid.UUID, session_id: uuid.UUID) -> None:
        self.seats: set[Seat] = set()
        self._layer = layer
        self._tenant = str(organization_id)
        self._session_id = session_id
        self._place = Place(channel_of(session_id), self._tenant)
        self._presence = Presence(layer.redis.client(), layer.name, lasts=PRESENCE_LASTS)
        self._is_ready = asyncio.Event()
        self._feed: Feed | None = None
        self._tasks = [
            asyncio.create_task(self._follow(), name=f"room {session_id}"),
            asyncio.create_task(self._beat(), name=f"beat of room {session_id}"),
        ]

    async def close(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def seat(self, seat: Seat) -> None:
        """Somebody comes in. Raises `BedplateError`; call `leave` in any case."""
        self.seats.add(seat)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await self._is_ready.wait()
        # What the room has seen before now must be in the welcome; what comes now waits.
        seen = 0 if self._feed is None else self._feed.position
        is_first = await self._presence.enter(self._place, seat.id, seat.present)
        events = await self._last_events(seen)
        async with self._layer.reading(tenant=self._tenant) as session:
            status = await session.scalar(
                select(Session.status).where(Session.id == self._session_id)
            )
        welcome = Welcome(
            session_id=self._session_id,
            status=SessionStatus(status or SessionStatus.ERROR),
            you=seat.member,
            present=[member_of(each) for each in await self._presence.present(self._place)],
            events=events,
        )
        seat.welcome(welcome, max(seen, events[-1].position if events else 0))
        if is_first:
            await self._keep(EventKind.JOIN, seat.member.id)

    async def leave(self, seat: Seat) -> None:
        """Somebody is gone, by whichever way. What fails is done when its presence runs out."""
        self.seats.discard(seat)
        try:
            is_last = await self._presence.leave(self._place, seat.id)
            if is_last:
                await self._keep(EventKind.LEAVE, seat.member.id)
        except BedplateError as error:
            log.warning("A leave is told later", extra={"error": error.message})

    async def say(self, seat: Seat, text: str) -> None:
        """Keep a message, and say it to the room. Raises as `history.append`."""
        await self._keep(EventKind.MESSAGE, seat.member.id, text)

    async def who_is_there(self) -> PresenceTold:
        """Who is there now. Raises `RedisUnreachableError`."""
        found = await self._presence.present(self._place)
        return PresenceTold(present=[member_of(each) for each in found])

    async def _keep(self, kind: EventKind, user_id: uuid.UUID, text: str | None = None) -> None:
        async with self._layer.transaction(tenant=self._tenant, actor=str(user_id)) as uow:
            await history.append(uow, Happened(kind, self._session_id, user_id, text))

    async def _last_events(self, seen: int) -> Sequence[Event]:
        """The last ones, from Redis where it has all that the room has seen."""
        kept = await self._layer.channels.recent(self._place.name, tenant=self._tenant)
        if kept and kept[-1].position >= seen and _is_complete(kept):
            return [Event.model_validate_json(each.text) for each in kept[-SHOWN_EVENTS:]]
        async with self._layer.reading(tenant=self._tenant) as session:
            return await history.read_last(session, self._session_id, SHOWN_EVENTS)

    async def _follow(self) -> None:
        while True:
            try:
                async with self._layer.reading(tenant=self._tenant) as session:
                    position = await history.last_position(session, self._session_id)
            except BedplateError as error:
                log.warning("A room cannot be followed", extra={"error": error.message})
                await asyncio.sleep(PATIENCE.total_seconds())
                continue
            self._feed = Feed(
                self._layer.channels, self._place.name, self._tenant, self._read, after=position
            )
            await self._deliver_all(self._feed)

    async def _deliver_all(self, feed: Feed) -> None:
        was_lost = False
        async with contextlib.aclosing(feed.follow()) as followed:
            async for each in followed:
                if isinstance(each, Numbered):
                    self._deliver(each)
                    continue
                self._is_ready.set()
                if isinstance(each, Lost):
                    was_lost = True
                    self._tell_all(Interrupted())
                elif isinstance(each, Live) and was_lost:
                    was_lost = False
                    await self._resume()

    def _deliver(self, event: Numbered) -> None:
        for seat in self.seats:
            seat.deliver(event)
        if json.loads(event.text)["type"] == EventKind.END:
            self._close_all(ENDED, "the session has ended")

    async def _resume(self) -> None:
        self._tell_all(Resumed())
        with contextlib.suppress(RedisUnreachableError):
            # Redis may have forgotten everyone.
            await self._stay()
            self._tell_all(await self.who_is_there())

    async def _read(self, after: int) -> list[Numbered]:
        async with self._layer.reading(tenant=self._tenant) as session:
            events = await history.read_after(session, self._session_id, after)
        return [history.numbered(each) for each in events]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT.total_seconds())
            try:
                await self._look_at_seats()
                await self._stay()
                for gone in await self._presence.sweep(self._place):
                    await self._keep(EventKind.LEAVE, member_of(gone).id)
            except BedplateError as error:
                log.warning("A room's beat failed", extra={"error": error.message})

    async def _stay(self) -> None:
        await self._presence.stay(self._place, {seat.id: seat.present for seat in self.seats})

    async def _look_at_seats(self) -> None:
        """Whatever was said and not heard: who may not be here any more is out by now."""
        members = {seat.member.id for seat in self.seats}
        async with self._layer.reading(tenant=self._tenant) as session:
            status = await session.scalar(
                select(Session.status).where(Session.id == self._session_id)
            )
            active = set(
                await session.scalars(select(User.id).where(User.id.in_(members), User.is_active))
            )
        if status is None or SessionStatus(status) in history.ENDED:
            self._close_all(ENDED, "the session has ended")
        for seat in self.seats:
            if seat.member.id in members - active:
                seat.close(DEACTIVATED, "you are not a member any more")

    def _tell_all(self, said: Interrupted | Resumed | PresenceTold) -> None:
        for seat in self.seats:
            seat.tell(said)

    def _close_all(self, code: int, reason: str) -> None:
        for seat in self.seats:
            seat.close(code, reason)


def _is_complete(kept: Sequence[Numbered]) -> bool:
    """Whether Redis has kept as many as are shown, or all there are, without a gap."""
    is_enough = len(kept) >= SHOWN_EVENTS or kept[0].position == 1
    return is_enough and kept[-1].position - kept[0].position + 1 == len(kept)
