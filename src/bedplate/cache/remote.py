"""One question to Redis about one entry: look, take the lease, fill.

The lease is what keeps old values out: it is taken before the loader reads, an invalidation voids
it, and only its holder may fill. Whoever finds it taken waits for the other's value. Every method
raises `LinkLostError` or `hiredis.ReplyError`; then the cache is gone round. Called by `cache.py`.
"""

import asyncio
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bedplate.cache.entries import Entry, unpack
from bedplate.cache.invalidation import TAG_LASTS, milliseconds, new_version
from bedplate.cache.keys import state_key, value_key
from bedplate.cache.link import Link
from bedplate.cache.route import ClusterRoute, Route
from bedplate.cache.scripts import FILL, LEASE

# Whoever loads for longer than this is taken to be dead: another one loads, and its fill counts.
LEASE_LASTS = timedelta(seconds=10)
# Others wait this long for the holder of the lease, and load for themselves then.
PATIENCE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.05
# Every entry lives a little shorter than asked, so that those stored together do not end together.
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fill an entry. `versions` and `floors`: its tags', from before the load."""

    token: str
    versions: Sequence[str]
    floors: Sequence[int]


@dataclass(frozen=True, slots=True)
class Remote:
    """Entry and tags, `names` in this order, each where it lies."""

    link: Link
    names: Sequence[str]
    tag_links: Sequence[Link]

    @classmethod
    def at(cls, route: Route | ClusterRoute, names: Sequence[str]) -> "Remote | None":
        """None while one of the servers that it takes is down."""
        link = route.link_for(names[0])
        if link is None:
            return None
        tag_links = [each for name in names[1:] if (each := route.link_for(name)) is not None]
        return cls(link, names, tag_links) if len(tag_links) == len(names) - 1 else None

    @property
    def key(self) -> str:
        """Where the entry's value is."""
        return value_key(self.names[0], self.link.incarnation)

    async def look(self, shape: str) -> Entry | None:
        """The entry, when it is of this shape and its tags are as they were. None: a miss."""
        answer = self.link.send("GET", self.key)
        tags = [link.send("GET", value_key(name, link.incarnation)) for name, link in self._tags()]
        raw = await answer
        versions = tuple([_version(await tag) for tag in tags])
        entry = None if raw is None else unpack(raw)
        if entry is None or entry.shape != shape or entry.tag_versions != versions:
            return None
        return entry if self.link.now_ms() < entry.gone_after_ms else None

    async def lease(self, shape: str, *, is_forced: bool) -> Lease | Entry | None:
        """The lease, or what another one filled meanwhile. None: another one loads for too long.

        Forced, it is taken although there is a value: that is stale, or none of ours.
        """
        token = secrets.token_hex(8)
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        while True:
            answer = await self._ask_for_lease(token, is_forced=is_forced)
            if isinstance(answer, list):
                return await self._under(token)
            if isinstance(answer, bytes):
                entry = await self.look(shape)
                if entry is not None:
                    return entry
                is_forced = True
                continue
            if asyncio.get_running_loop().time() >= deadline:
                return None
            await asyncio.sleep(pause)
            if is_forced and (entry := await self.look(shape)) is not None:
                return entry
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def fill(
        self,
        lease: Lease,
        packed: bytes,
        ttl: timedelta,
        stale: timedelta,
        seen_below: int | None,
    ) -> bool:
        """Store what `pack` made; False when it may be older than what was forgotten since."""
        if seen_below is not None and any(floor >= seen_below for floor in lease.floors):
            self.give_back(lease)
            return False
        fresh_ms = int(milliseconds(ttl) * random.uniform(1 - JITTER, 1))  # noqa: S311 - no secret
        seen = "" if seen_below is None else seen_below
        return bool(
            await self.link.evaluate(
                FILL,
                self._keys(),
                lease.token,
                max(1, fresh_ms),
                milliseconds(stale),
                seen,
                packed,
            )
        )

    def give_back(self, lease: Lease) -> None:
        """Store nothing, and let the next one load. Only sent."""
        self.link.evaluate(FILL, self._keys(), lease.token, 0, 0, "", b"")

    def _ask_for_lease(self, token: str, *, is_forced: bool) -> Any:
        lasts = milliseconds(LEASE_LASTS)
        return self.link.evaluate(LEASE, self._keys(), token, lasts, int(is_forced))

    async def _under(self, token: str) -> Lease:
        """The lease with the tags' versions as they are now, before anything is read."""
        answers = []
        for name, link in self._tags():
            key, lasts = value_key(name, link.incarnation), milliseconds(TAG_LASTS)
            link.send("SET", key, f"{new_version()}:0", "NX", "PX", lasts)
            answers.append(link.send("GET", key))
        found = [(await answer or b":0").decode().split(":") for answer in answers]
        return Lease(token, [version for version, _ in found], [int(floor) for _, floor in found])

    def _keys(self) -> list[str]:
        return [self.key, state_key(self.names[0], self.link.incarnation)]

    def _tags(self) -> "zip[tuple[str, Link]]":
        return zip(self.names[1:], self.tag_links, strict=True)


def _version(tag: bytes | None) -> str:
    """Empty for a tag that is gone: no entry has that version."""
    return "" if tag is None else tag.decode().partition(":")[0]
