"""Loading: what this process does not have is asked of Redis, and loaded when it is not there.

One caller loads, of all processes, and the others take what it loaded. It is stored only under
the lease that was taken before the load, which an invalidation voids. Where Redis refuses or is
lost, the caller loads for itself. Called by `cache.py`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import hiredis

from bedplate.cache.entries import Entry, Shape, pack
from bedplate.cache.flights import Flights
from bedplate.cache.link import LinkLostError
from bedplate.cache.near_cache import NearCache, Ticket
from bedplate.cache.remote import Lease, Remote
from bedplate.cache.route import ClusterRoute, Route

log = logging.getLogger("bedplate.cache")

LONGEST_TTL = timedelta(days=7)
# In this process no longer than this, whatever Redis says: the last bound if an invalidation is
# lost in a way that nobody thought of.
LONGEST_NEAR_SECONDS = 60.0
# While Redis is down nobody tells this process of changes.
NEAR_SECONDS_ALONE = 1.0
LARGEST_VALUE_BYTES = 1 << 20
FAILURES = (LinkLostError, hiredis.ReplyError)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One question to the cache. `load` returns the value and what its reader saw of the rows."""

    names: Sequence[str]
    shape: Shape[Any]
    ttl: timedelta
    stale: timedelta
    load: Callable[[], Awaitable[tuple[Any, int | None]]]


class Loading:
    """What one cache loads, and counts of it."""

    def __init__(
        self, near: NearCache, flights: Flights, route: Callable[[], Route | ClusterRoute]
    ) -> None:
        self.redis_hits = self.loads = self.refused_fills = 0
        self._near = near
        self._flights = flights
        self._route = route
        self._refreshes: set[asyncio.Task[Any]] = set()

    async def find(self, remote: Remote | None, wanted: Wanted) -> Any:
        """What Redis has, or what is loaded. `remote` None: Redis, or a part of it, is down."""
        if remote is None:
            return await self._flights.join(wanted.names, lambda: self._load_alone(wanted))
        ticket = self._near.ticket(wanted.names)
        entry = None
        try:
            entry = await remote.look(wanted.shape.digest)
            if entry is not None:
                with contextlib.suppress(ValueError):
                    return self._decoded(remote, wanted, entry, ticket)
        except FAILURES as error:
            self._route().refused(error)
        finally:
            self._near.give_back(ticket)
        is_forced = entry is not None
        return await self._flights.join(
            wanted.names, lambda: self._load(remote, wanted, is_forced=is_forced)
        )

    def _decoded(self, remote: Remote, wanted: Wanted, entry: Entry, ticket: Ticket) -> Any:
        """Raises `ValueError` when it does not decode, or is older than this caller takes."""
        left = (entry.fresh_until_ms - remote.link.now_ms()) / 1000
        if left <= 0 and not wanted.stale:
            raise ValueError("stale")
        value = wanted.shape.decode(entry.text)
        self.redis_hits += 1
        if left <= 0:
            self._refresh(remote, wanted)
        self._near.put(ticket, value, min(left, LONGEST_NEAR_SECONDS), len(entry.text))
        return value

    async def _load(self, remote: Remote, wanted: Wanted, *, is_forced: bool) -> Any:
        """Load under the lease, or take what another process loaded."""
        lease: Lease | None = None
        try:
            got = await remote.lease(wanted.shape.digest, is_forced=is_forced)
            if isinstance(got, Entry):
                with contextlib.suppress(ValueError):
                    return wanted.shape.decode(got.text)
            lease = got if isinstance(got, Lease) else None
        except FAILURES as error:
            self._route().refused(error)
        if lease is None:
            return await self._load_alone(wanted)
        try:
            self.loads += 1
            value, seen_below = await wanted.load()
            text = wanted.shape.encode(value)
        except BaseException:
            with contextlib.suppress(*FAILURES):
                # Only sent: whoever was cancelled does not wait.
                remote.give_back(lease)
            raise
        with contextlib.suppress(*FAILURES):
            await self._fill(remote, wanted, lease, text, seen_below)
        return value

    async def _fill(
        self, remote: Remote, wanted: Wanted, lease: Lease, text: bytes, seen_below: int | None
    ) -> None:
        if len(text) > LARGEST_VALUE_BYTES:
            log.warning("A value is too large to be cached", extra={"entry": wanted.names[0]})
            remote.give_back(lease)
            return
        packed = pack(wanted.shape.digest, lease.versions, text)
        ttl = min(wanted.ttl, LONGEST_TTL)
        if not await remote.fill(lease, packed, ttl, wanted.stale, seen_below):
            self.refused_fills += 1

    async def _load_alone(self, wanted: Wanted) -> Any:
        """Without Redis: kept in this process only, and for a moment. With it: not kept."""
        ticket = self._near.ticket(wanted.names)
        try:
            self.loads += 1
            value, _ = await wanted.load()
            text = wanted.shape.encode(value)
            if self._route().link_for(wanted.names[0]) is None:
                lasts = min(NEAR_SECONDS_ALONE, wanted.ttl.total_seconds())
                self._near.put(ticket, value, lasts, len(text))
        finally:
            self._near.give_back(ticket)
        return value

    def _refresh(self, remote: Remote, wanted: Wanted) -> None:
        """Load anew, for the next ones: this one is served what there is."""
        if wanted.names[0] in self._flights:
            return

        async def refresh() -> None:
            try:
                await self._flights.join(
                    wanted.names, lambda: self._load(remote, wanted, is_forced=True)
                )
            except Exception:
                log.warning(
                    "A stale value could not be loaded anew; it is served on",
                    extra={"entry": wanted.names[0]},
                    exc_info=True,
                )

        task = asyncio.create_task(refresh(), name=f"cache refresh {wanted.names[0]}")
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)

    async def close(self) -> None:
        """Cancel what is being loaded anew."""
        for task in self._refreshes:
            task.cancel()
        await asyncio.gather(*self._refreshes, return_exceptions=True)
