"""A channel without gaps: what was not heard is read from where it is kept.

    async def read(after: int) -> Sequence[Numbered]: ...       # committed rows, in order

    async for each in Feed(layer.channels, "room:7", "acme", read, after=41).follow():
        ...                                     # Numbered 42, 43, 44 …, and Lost and LIVE between

Positions are given out one by one, in the transaction that keeps the text (`uow.publish` with
`position`). Then each comes once and in order, whatever Redis loses, says twice or late: a jump,
a return of the connection, and a while without a word each have the rows read. While the channel
is lost they are read each second. `read` may give a part: it is asked until it has no more.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta

from bedplate.cache.channels import LIVE, Channels, Heard, Live, Lost, Numbered, Subscription
from bedplate.errors import BedplateError

log = logging.getLogger("bedplate.cache.feed")

Read = Callable[[int], Awaitable[Sequence[Numbered]]]
Fed = Numbered | Lost | Live

LOOK_EVERY = timedelta(seconds=10)
# While the channel is not heard, the rows are all there is.
LOOK_EVERY_WHILE_LOST = timedelta(seconds=1)


class Feed:
    """One follower of a channel; `position` is the last that it gave out."""

    def __init__(
        self,
        channels: Channels,
        channel: str,
        tenant: str | None,
        read: Read,
        *,
        after: int,
        look_every: timedelta = LOOK_EVERY,
    ) -> None:
        self.position = after
        self._subscription = channels.subscribe(channel, tenant=tenant)
        self._read = read
        self._look_every = look_every
        self._is_lost = False

    async def follow(self) -> AsyncGenerator[Fed, None]:
        """All that comes, for ever; once."""
        async with self._subscription as heard:
            while True:
                each = await self._next(heard)
                if isinstance(each, Lost):
                    self._is_lost = True
                    yield each
                    continue
                self._is_lost = self._is_lost and each != LIVE
                for numbered in await self._new(each):
                    self.position = numbered.position
                    yield numbered
                if each == LIVE:
                    yield LIVE

    async def _next(self, heard: Subscription) -> Heard | None:
        """The next; None after a while without one."""
        pause = min(self._look_every, LOOK_EVERY_WHILE_LOST) if self._is_lost else self._look_every
        try:
            async with asyncio.timeout(pause.total_seconds()):
                return await heard.next()
        except TimeoutError:
            return None

    async def _new(self, heard: Heard | None) -> Sequence[Numbered]:
        if not isinstance(heard, str):
            return await self._missed()
        numbered = Numbered.parse(heard)
        if numbered.position == self.position + 1:
            return [numbered]
        return await self._missed() if numbered.position > self.position else []

    async def _missed(self) -> Sequence[Numbered]:
        missed: list[Numbered] = []
        try:
            while more := await self._read(missed[-1].position if missed else self.position):
                missed += more
        except BedplateError as error:
            # Asked again with the next text, or after a while.
            log.warning("What was missed cannot be read", extra={"error": error.message})
        return missed
