"""How Redis is told what to forget: at once after a commit, and for sure by the relay.

Keys that lie together are told in one step for many, each name once. What cannot be told while
Redis is down is kept and told before it is used again. Called by `cache.py`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

from bedplate.cache.invalidation import Invalidation, send
from bedplate.cache.keys import Keyspace
from bedplate.cache.link import Link, LinkLostError
from bedplate.cache.route import ClusterRoute, Route

# What could not be told at a commit while Redis was down is told before it is used again; of more
# than this the oldest are left to the relay.
MOST_UNSENT = 10_000
# How many keys one step forgets: some 0.3 ms, in which the server answers nobody else.
KEYS_PER_STEP = 100
# How long a relay waits for the connection before it puts its messages back.
TELL_TIMEOUT = timedelta(seconds=2)

ByName = Mapping[str, Invalidation]


class Telling:
    """Tells over the route that it is given. Opens nothing."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._unsent: dict[str, Invalidation] = {}

    def names(self, invalidations: Iterable[Invalidation]) -> dict[str, Invalidation]:
        """By their names in Redis; of several for one name the one of the latest transaction."""
        found: dict[str, Invalidation] = {}
        for each in invalidations:
            name = each.name(self._keyspace)
            other = found.get(name)
            if other is None or other.transaction < each.transaction:
                found[name] = each
        return found

    def tell_soon(self, route: Route | ClusterRoute | None, named: ByName) -> None:
        """Send without waiting; what does not get there is kept for `tell_kept`."""
        if route is None:
            self._keep(named)
            return
        for link, part in _parts(route, named):
            try:
                answer = send(link, part)
            except LinkLostError:
                self._keep(part)
            else:
                answer.add_done_callback(self._keeping(part))

    async def tell(self, route: Route | ClusterRoute, named: ByName) -> None:
        """Send, and wait for every answer. Raises `LinkLostError`, `hiredis.ReplyError`."""
        await route.wait(TELL_TIMEOUT)
        await asyncio.gather(*[send(link, part) for link, part in _parts(route, named)])

    def tell_kept(self, route: Route | ClusterRoute | None) -> None:
        """What could not be told; before anyone asks the new connection."""
        unsent, self._unsent = self._unsent, {}
        self.tell_soon(route, unsent)

    def _keep(self, named: ByName) -> None:
        self._unsent |= named
        for name in list(islice(self._unsent, max(0, len(self._unsent) - MOST_UNSENT))):
            del self._unsent[name]

    def _keeping(self, part: ByName) -> Any:
        def keep(answer: "asyncio.Future[Any]") -> None:
            if not answer.cancelled() and answer.exception():
                self._keep(part)

        return keep


def _parts(
    route: Route | ClusterRoute, named: ByName
) -> Iterator[tuple[Link | None, dict[str, Invalidation]]]:
    """What one step can tell: some keys of one server, and on a cluster of one slot; or one tag."""
    keys = [name for name, each in named.items() if not each.is_tag]
    for link, together in route.together(keys):
        for start in range(0, len(together), KEYS_PER_STEP):
            yield link, {name: named[name] for name in together[start : start + KEYS_PER_STEP]}
    for name, each in named.items():
        if each.is_tag:
            yield route.link_for(name), {name: each}
