"""Which link leads to a name, and that links come back: the cache's breaker.

A link that breaks or falls silent is gone at once, and whoever asks goes to the loader without
waiting. In the background one attempt after the other enters the server anew, with growing
pauses; only an attempt that was answered in time opens it again. One server has one link, a
cluster one to each of its masters, and Sentinel is asked before each attempt. Called by `cache.py`.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta

import hiredis
from redis.crc import key_slot
from redis.exceptions import RedisError

from bedplate.cache.connections import find_master
from bedplate.cache.link import Forgotten, Link, connect
from bedplate.redis_address import RedisAddress

log = logging.getLogger("bedplate.cache")

Place = tuple[str | None, int]

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
FAILURES = (OSError, RedisError, hiredis.HiredisError, hiredis.ReplyError)


class Keeper:
    """Keeps one link open. `opened` is called with it before anyone else may use it."""

    def __init__(
        self,
        address: RedisAddress,
        find: Callable[[], Awaitable[Place]],
        forgotten: Forgotten,
        opened: Callable[[], None],
        silent_ticks: int | None = None,
    ) -> None:
        self.link: Link | None = None
        self.down_since = time.monotonic()
        self.tried = asyncio.Event()
        self._address = address
        self._find = find
        self._forgotten = forgotten
        self._opened = opened
        self._silent_ticks = silent_ticks
        self._task = asyncio.create_task(self._keep(), name="cache link")

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                host, port = await self._find()
                link = await connect(
                    self._address, host, port, self._forgotten, silent_ticks=self._silent_ticks
                )
            except FAILURES as error:
                failures += 1
                if failures == 1:
                    log.warning("The cache is bypassed", extra={"error": str(error)})
                self.tried.set()
                await asyncio.sleep(_pause(failures))
                continue
            await self._use(link)
            failures = 1

    async def _use(self, link: Link) -> None:
        try:
            self.link = link
            self._opened()
            self.tried.set()
            log.info("The cache is in use", extra={"incarnation": link.incarnation})
            why = await asyncio.shield(link.lost)
            log.warning("The cache is bypassed", extra={"error": why})
        finally:
            self.link, self.down_since = None, time.monotonic()
            await link.close()


class Route:
    """One server, or the master that Sentinel names. Started by its first user."""

    def __init__(
        self,
        address: RedisAddress,
        forgotten: Forgotten,
        opened: Callable[[], None],
        silent_ticks: int | None = None,
    ) -> None:
        self._keeper = Keeper(address, self._find, forgotten, opened, silent_ticks)
        self._address = address

    def link_for(self, _name: str) -> Link | None:
        """The link that leads to a name; None while it is down."""
        link = self._keeper.link
        return link if link is not None and link.is_up else None

    def together(self, names: Sequence[str]) -> Iterable[tuple[Link | None, Sequence[str]]]:
        """The names by what one command can name together, with the link that leads there."""
        return [(self.link_for(names[0]), names)] if names else []

    @property
    def down_for(self) -> timedelta | None:
        """Since when a part of the cache is bypassed; None when it is in use."""
        return _down_for([self._keeper])

    def refused(self, error: Exception) -> None:
        """The server answered with an error."""

    @property
    def is_tried(self) -> bool:
        """Whether the first attempt has ended."""
        return self._keeper.tried.is_set()

    async def wait(self, limit: timedelta) -> None:
        """Until the first attempt has ended, at most `limit`."""
        await _wait(self._keeper.tried, limit)

    async def close(self) -> None:
        """Close the link."""
        await self._keeper.close()

    async def _find(self) -> Place:
        if self._address.kind == "sentinel":
            return await find_master(self._address)
        return self._address.hosts[0] if self._address.hosts else (None, 0)


class ClusterRoute:
    """A link to each master of a cluster; who serves what is asked again when one is lost."""

    def __init__(
        self,
        address: RedisAddress,
        forgotten: Forgotten,
        opened: Callable[[], None],
        silent_ticks: int | None = None,
    ) -> None:
        self._address = address
        self._silent_ticks = silent_ticks
        self._forgotten = forgotten
        self._opened = opened
        self._keepers: dict[Place, Keeper] = {}
        self._slots: list[tuple[int, int, Place]] = []
        self._is_stale = asyncio.Event()
        self._tried = asyncio.Event()
        self._task = asyncio.create_task(self._follow(), name="cache cluster")

    def link_for(self, name: str) -> Link | None:
        """The link to the master of this name's slot; None while there is none."""
        slot = key_slot(name.encode())
        for first, last, place in self._slots:
            if first <= slot <= last:
                keeper = self._keepers.get(place)
                if keeper is None or keeper.link is None or not keeper.link.is_up:
                    self._is_stale.set()
                    return None
                return keeper.link
        self._is_stale.set()
        return None

    def together(self, names: Sequence[str]) -> Iterable[tuple[Link | None, Sequence[str]]]:
        """The names by what one command can name together: those of one slot."""
        by_slot: dict[int, list[str]] = {}
        for name in names:
            by_slot.setdefault(key_slot(name.encode()), []).append(name)
        return [(self.link_for(each[0]), each) for each in by_slot.values()]

    @property
    def down_for(self) -> timedelta | None:
        """Since when a part of the cache is bypassed; None when it is in use."""
        return _down_for(list(self._keepers.values())) if self._keepers else timedelta(0)

    def refused(self, error: Exception) -> None:
        """The server answered with an error: MOVED says that the slots have other masters."""
        if str(error).startswith(("MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN")):
            self._is_stale.set()

    @property
    def is_tried(self) -> bool:
        """Whether the first attempt has ended."""
        return self._tried.is_set()

    async def wait(self, limit: timedelta) -> None:
        """Until the first attempt has ended, at most `limit`."""
        await _wait(self._tried, limit)

    async def close(self) -> None:
        """Close every link."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for keeper in self._keepers.values():
            await keeper.close()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                await self._adopt(await self._ask())
                failures = 0
                await asyncio.gather(*(keeper.tried.wait() for keeper in self._keepers.values()))
            except FAILURES as error:
                failures += 1
                if failures == 1:
                    log.warning("No node of the cluster answers", extra={"error": str(error)})
            self._tried.set()
            # A cluster that is between two masters says the same for a second or two.
            await asyncio.sleep(_pause(failures + 1))
            await self._is_stale.wait()
            self._is_stale.clear()

    async def _ask(self) -> list[tuple[int, int, Place]]:
        """Who serves what, by the first node that answers."""
        error: Exception = ConnectionError("the cluster has no node")
        for host, port in dict.fromkeys([*self._keepers, *self._address.hosts]):
            try:
                link = await connect(
                    self._address, host, port, lambda _names: None, is_replica_fine=True
                )
            except FAILURES as failure:
                error = failure
                continue
            try:
                ranges = await link.send("CLUSTER", "SLOTS")
            finally:
                await link.close()
            return [
                (first, last, ((master[0] or b"").decode() or host, master[1]))
                for first, last, master, *_replicas in ranges
            ]
        self._is_stale.set()
        raise error

    async def _adopt(self, slots: list[tuple[int, int, Place]]) -> None:
        self._slots = slots
        places = {place for _first, _last, place in slots}
        for place in places - self._keepers.keys():
            self._keepers[place] = Keeper(
                self._address, _at(place), self._forgotten, self._opened, self._silent_ticks
            )
        for place in self._keepers.keys() - places:
            await self._keepers.pop(place).close()


def _at(place: Place) -> Callable[[], Awaitable[Place]]:
    async def find() -> Place:
        return place

    return find


def _down_for(keepers: list[Keeper]) -> timedelta | None:
    since = [keeper.down_since for keeper in keepers if keeper.link is None]
    return timedelta(seconds=time.monotonic() - min(since)) if since else None


def _pause(failures: int) -> float:
    longest = min(FIRST_PAUSE_SECONDS * (1 << min(failures - 1, 10)), LONGEST_PAUSE_SECONDS)
    # So that processes do not come back all at once.
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


async def _wait(event: asyncio.Event, limit: timedelta) -> None:
    if not event.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit.total_seconds()):
                await event.wait()
