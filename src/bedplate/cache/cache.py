"""The cache: what was read once is not read again, and nothing stale stays.

    book = await layer.cache.get_or_load(f"book:{id}", load, ttl=timedelta(minutes=5))

Looks into this process, then into Redis, then calls the loader: one at a time per key, of all
processes. What it loads is stored only under the lease that it took before, which an invalidation
voids; so what was read before a commit never outlasts it. Redis that is down or silent is gone
round: no reader waits for it longer than a tenth of a second. Called by whoever reads, and by
`layer.py` and the relay after a commit.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.cache.entries import Shape, shape_of, shape_of_type
from bedplate.cache.flights import Flights
from bedplate.cache.invalidation import Invalidation
from bedplate.cache.keys import Keyspace, bounded, name_of
from bedplate.cache.link import PATIENT_TICKS
from bedplate.cache.loading import FAILURES, Loading, Wanted
from bedplate.cache.near_cache import NearCache
from bedplate.cache.remote import Remote
from bedplate.cache.route import ClusterRoute, Route
from bedplate.cache.telling import Telling
from bedplate.cache.view import TenantCache
from bedplate.errors import RedisUnreachableError
from bedplate.redis_address import RedisAddress
from bedplate.urls import redact

T = TypeVar("T")
Read = Callable[[AsyncSession], Awaitable[T]]
Reading = Callable[[], AbstractAsyncContextManager[AsyncSession]]

MOST_NAMES = 100_000

# On a standby only what is older than every transaction that it still replays is known to be seen:
# its snapshot does not list them.
SEEN_BELOW = text("""
SELECT CASE WHEN pg_is_in_recovery()
            THEN CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)
       END
""")


class Cache:
    """Opens nothing before its first use. Use it from one event loop; close it."""

    # The very first reader waits this long for a connection, and goes to the loader then.
    FIRST_WAIT = timedelta(milliseconds=100)

    def __init__(
        self,
        url: str,
        system: str,
        reading: Reading,
        *,
        near_bytes: int,
        tenant: Callable[[], str | None] = lambda: None,
        is_in_transaction: Callable[[], bool] = lambda: False,
    ) -> None:
        self.near_hits = 0
        self._url = url
        self._keyspace = Keyspace(system)
        self._reading = reading
        self._tenant = tenant
        self._is_in_transaction = is_in_transaction
        self._near = NearCache(near_bytes)
        self._flights = Flights()
        self._route: Route | ClusterRoute | None = None
        self._silent_ticks: int | None = None
        self._telling = Telling(self._keyspace)
        self._names: dict[tuple[str | None, str], str] = {}
        self._loading = Loading(self._near, self._flights, self._open_route)

    def __repr__(self) -> str:
        return f"<Cache {self._keyspace.system} {redact(self._url)}>"

    @property
    def redis_hits(self) -> int:
        """What Redis had."""
        return self._loading.redis_hits

    @property
    def loads(self) -> int:
        """What had to be loaded."""
        return self._loading.loads

    @property
    def refused_fills(self) -> int:
        """What was loaded and not stored, because it may have changed meanwhile."""
        return self._loading.refused_fills

    @property
    def bypassed_for(self) -> timedelta | None:
        """How long Redis, or a part of a cluster, is gone round; None while it is in use."""
        return None if self._route is None else self._route.down_for

    def of(self, tenant: str | None) -> TenantCache:
        """The entries of this tenant, for reads outside of its blocks; None: those of nobody."""
        return TenantCache(self, tenant)

    async def get_or_load(
        self,
        key: str,
        load: Callable[[], Awaitable[T]],
        *,
        ttl: timedelta,
        tags: Iterable[str] = (),
        stale: timedelta = timedelta(0),
        as_type: Any = None,
    ) -> T:
        """The entry of this key, or what `load` returns, which is stored for `ttl` at most.

        `load` reads committed rows of the primary, by `layer.reading()`; what it returns is
        annotated, or named by `as_type`: whatever pydantic writes as JSON. The value may be shared
        with other callers: do not change it. `tags` name what else it depends on. `stale`: for so
        long after `ttl` it is served while one caller loads it anew. Inside a transaction it only
        loads. Raises what `load` raises, and `CacheTypeError`.
        """
        if self._is_in_transaction():
            return await load()
        # The hot path: what is at hand costs no more than two dictionaries and a clock.
        name = self._names.get((self._tenant(), key)) or self._name(key)
        near = self._near.entries.get(name)
        if near is not None and monotonic() < near.deadline:
            self.near_hits += 1
            return near.value  # type: ignore[no-any-return]  # put in under this name

        async def loaded() -> tuple[T, None]:
            return await load(), None

        shape = shape_of(load, as_type)
        found: T = await self._find(Wanted(self._with_tags(name, tags), shape, ttl, stale, loaded))
        return found

    async def get_or_read(
        self,
        key: str,
        read: Read[T],
        *,
        ttl: timedelta,
        tags: Iterable[str] = (),
        stale: timedelta = timedelta(0),
        as_type: Any = None,
        reading: Reading | None = None,
    ) -> T:
        """As `get_or_load`; `read(session)` gets a session in a READ ONLY transaction.

        Right on a standby, too, whose session `reading` gives: what one that lags behind the last
        invalidation says is returned, and not stored.
        """

        async def loaded() -> tuple[T, int | None]:
            async with (reading or self._reading)() as session:
                # Before the rows: what they show is at least this new.
                seen_below = await session.scalar(SEEN_BELOW)
                return await read(session), seen_below

        if self._is_in_transaction():
            return (await loaded())[0]
        name = self._name(key)
        near = self._near.find(name)
        if near is not None:
            self.near_hits += 1
            return near.value  # type: ignore[no-any-return]  # put in under this name
        shape = shape_of(read, as_type)
        found: T = await self._find(Wanted(self._with_tags(name, tags), shape, ttl, stale, loaded))
        return found

    async def get(self, key: str, as_type: type[T], *, tags: Iterable[str] = ()) -> T | None:
        """The entry of this key if there is one; `tags` as it was stored with. Loads nothing."""
        names = self._with_tags(self._name(key), tags)
        near = self._near.find(names[0])
        if near is not None:
            return near.value  # type: ignore[no-any-return]  # put in under this name
        remote = await self._remote(names)
        entry = None
        shape: Shape[T] = shape_of_type(as_type)
        if remote is not None:
            with contextlib.suppress(*FAILURES):
                entry = await remote.look(shape.digest)
        with contextlib.suppress(ValueError):
            return None if entry is None else shape.decode(entry.text)
        return None

    def forget(self, invalidations: Iterable[Invalidation]) -> None:
        """After a commit: this process forgets at once, and tells Redis without waiting.

        Whatever it asks Redis from now on is asked after that, on the same connection.
        """
        named = self._telling.names(invalidations)
        self._near.forget(named)
        self._flights.forget(named)
        self._telling.tell_soon(self._route, named)

    def be_patient(self) -> None:
        """For a relay: Redis may be far away, and it must be told all the same."""
        self._silent_ticks = PATIENT_TICKS

    async def tell(self, invalidations: Sequence[Invalidation]) -> None:
        """Have Redis forget, for sure. Raises `RedisUnreachableError`. Twice is once."""
        route = self._open_route()
        try:
            await self._telling.tell(route, self._telling.names(invalidations))
        except FAILURES as error:
            route.refused(error)
            raise RedisUnreachableError(
                f"Redis at {redact(self._url)} could not be told what to forget: {error}",
                hint="It waits in PostgreSQL and is told when Redis is back. Check REDIS_URL.",
            ) from error

    async def close(self) -> None:
        """Close the connection, and cancel what is being loaded."""
        await self._loading.close()
        await self._flights.close()
        if self._route is not None:
            await self._route.close()
        self._near.clear()

    async def _find(self, wanted: Wanted) -> Any:
        return await self._loading.find(await self._remote(wanted.names), wanted)

    async def _remote(self, names: Sequence[str]) -> Remote | None:
        route = self._open_route()
        if not route.is_tried:
            await route.wait(self.FIRST_WAIT)
        return Remote.at(route, names)

    def _open_route(self) -> Route | ClusterRoute:
        if self._route is None:
            address = RedisAddress.parse(self._url)
            kind = ClusterRoute if address.kind == "cluster" else Route
            self._route = kind(address, self._changed, self._reopened, self._silent_ticks)
        return self._route

    def _changed(self, redis_keys: Sequence[str] | None) -> None:
        """Redis says that these have changed; None: anything may have."""
        if redis_keys is None:
            self._near.clear()
        else:
            self._near.forget([name_of(key) for key in redis_keys])

    def _reopened(self) -> None:
        """Before anyone asks the new connection: tell what could not be told."""
        self._near.clear()
        self._telling.tell_kept(self._route)

    def _name(self, key: str) -> str:
        tenant = self._tenant()
        name = self._names.get((tenant, key))
        if name is None:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            name = self._keyspace.entry(tenant, bounded(key))
            self._names[tenant, key] = name
        return name

    def _with_tags(self, name: str, tags: Iterable[str]) -> Sequence[str]:
        """The entry's name, then those of its tags in one order."""
        tenant = self._tenant()
        return (name, *(self._keyspace.tag(tenant, bounded(tag)) for tag in sorted(set(tags))))
