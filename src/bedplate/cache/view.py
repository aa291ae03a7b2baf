"""The cache of one tenant: for reads outside of the tenant's transactions.

    settings = await layer.cache.of("acme").get_or_read("settings", read, ttl=timedelta(hours=1))

Made by `Cache.of`. It looks at the same entries as reads inside `layer.reading(tenant="acme")`,
and `uow.invalidate` in a transaction of that tenant has them forgotten.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from bedplate.rows.tenancy import running_as

if TYPE_CHECKING:
    from bedplate.cache.cache import Cache, Read, Reading

T = TypeVar("T")


class TenantCache:
    """The entries of one tenant; None: those of nobody. The same calls as `Cache`."""

    def __init__(self, cache: "Cache", tenant: str | None) -> None:
        self.tenant = tenant
        self._cache = cache

    def __repr__(self) -> str:
        return f"<TenantCache {self.tenant} of {self._cache!r}>"

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
        """As `Cache.get_or_load`. `load` names the tenant itself, by `layer.reading(tenant=…)`."""
        with running_as(self.tenant):
            return await self._cache.get_or_load(
                key, load, ttl=ttl, tags=tags, stale=stale, as_type=as_type
            )

    async def get_or_read(
        self,
        key: str,
        read: "Read[T]",
        *,
        ttl: timedelta,
        tags: Iterable[str] = (),
        stale: timedelta = timedelta(0),
        as_type: Any = None,
        reading: "Reading | None" = None,
    ) -> T:
        """As `Cache.get_or_read`; the session is the tenant's, unless `reading` gives another."""
        with running_as(self.tenant):
            return await self._cache.get_or_read(
                key, read, ttl=ttl, tags=tags, stale=stale, as_type=as_type, reading=reading
            )

    async def get(self, key: str, as_type: type[T], *, tags: Iterable[str] = ()) -> T | None:
        """As `Cache.get`."""
        with running_as(self.tenant):
            return await self._cache.get(key, as_type, tags=tags)
