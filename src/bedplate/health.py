"""Health: one probe per service, side by side, each within two seconds and none of them raising.

The probes take no connection of the serving pool: a process whose pool is used up still answers,
and says the truth. A reason is a few words without address, version or secret, for it is shown to
whoever asks.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

import asyncpg

from bedplate.cache import attendance
from bedplate.delivery import outbox
from bedplate.errors import BedplateError
from bedplate.jobs import ledger
from bedplate.jobs.direct_claims import SERVED
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection, fetch

log = logging.getLogger("bedplate.health")

PROBE_TIMEOUT = timedelta(seconds=2)
# Due for this long and not taken: no relay runs, or it cannot follow.
MAX_LAG = timedelta(seconds=30)
# Without these a request cannot be served. Redis holds wake-ups and copies, and a relay that lags
# is no reason to take every replica out of service.
NEEDED = frozenset({"database", "migrations"})

Probe = Callable[[DataLayer], Awaitable[None]]


@dataclass(frozen=True)
class ServiceHealth:
    """What a probe found. `reason` says why it is down."""

    is_up: bool
    latency_ms: float
    reason: str | None = None


@dataclass(frozen=True)
class Report:
    """Every service by name, and those without which no request can be served."""

    services: Mapping[str, ServiceHealth]
    needed: Collection[str] = NEEDED

    @property
    def is_ready(self) -> bool:
        """Whether requests can be served: all that is needed is up."""
        return all(found.is_up for name, found in self.services.items() if name in self.needed)

    @property
    def is_healthy(self) -> bool:
        """Whether every service is up."""
        return all(service.is_up for service in self.services.values())


class ProbeFailure(Exception):  # noqa: N818 - it says that a service is down, not that we erred
    """A service answered, and what it said is not good. The message is the reason."""


async def check(
    layer: DataLayer,
    *,
    limit: timedelta = PROBE_TIMEOUT,
    also: Mapping[str, Probe] = MappingProxyType({}),
    needed: Collection[str] = NEEDED,
) -> Report:
    """Ask every service at once, and `also` these. Takes `limit` at most; never raises."""
    probes: dict[str, Probe] = {"database": _probe_database, "relay": _probe_relay, **also}
    if layer.settings.redis_url is not None:
        probes["redis"] = _probe_redis
    if layer.settings.has_files:
        probes["s3"] = _probe_s3
    found = await asyncio.gather(*(_run(probe, layer, limit) for probe in probes.values()))
    return Report(dict(zip(probes, found, strict=True)), needed)


async def probe_worker(layer: DataLayer) -> None:
    """Whether somebody does this system's jobs; for `also`, where a system has tasks."""
    if layer.settings.redis_url is not None and await attendance.is_there(
        layer.redis.client(), layer.name
    ):
        return
    connection = DriverConnection(layer.owner_database)
    try:
        if not await fetch(connection, SERVED):
            raise ProbeFailure("no worker is there")
    finally:
        await connection.close()


async def _run(probe: Probe, layer: DataLayer, limit: timedelta) -> ServiceHealth:
    started = time.perf_counter()
    reason = None
    try:
        async with asyncio.timeout(limit.total_seconds()):
            await probe(layer)
    except Exception as error:
        reason = _reason(error, limit)
        log.debug("A probe failed", extra={"reason": reason}, exc_info=True)
    elapsed_ms = (time.perf_counter() - started) * 1000
    return ServiceHealth(reason is None, round(elapsed_ms, 2), reason)


async def _probe_database(layer: DataLayer) -> None:
    """The pooler that requests go through, and the server past it: a busy pooler is not down."""
    if layer.database.is_behind_pooler:
        await layer.database.reach()
    connection = await layer.database.connect()
    try:
        await connection.execute("SELECT 1")
    finally:
        connection.terminate()


async def _probe_redis(layer: DataLayer) -> None:
    await layer.redis.ping()
    bypassed_for = layer.cache.bypassed_for
    if bypassed_for is not None:
        raise ProbeFailure(f"the cache goes round it for {bypassed_for.total_seconds():.0f} s")


async def _probe_s3(layer: DataLayer) -> None:
    await layer.files.objects.probe(layer.files.system)


async def _probe_relay(layer: DataLayer) -> None:
    """As the owner: under row-level security the application's role sees no other tenant's rows."""
    connection = DriverConnection(layer.owner_database)
    try:
        _refuse_lag("job", await ledger.ready_lag(connection))
        _refuse_lag("message", await outbox.lag(connection))
    finally:
        await connection.close()


def _refuse_lag(what: str, lag: timedelta | None) -> None:
    if lag is not None and lag > MAX_LAG:
        seconds = lag.total_seconds()
        raise ProbeFailure(f"a {what} has waited for {seconds:.0f} s; is a relay running?")


def _reason(error: Exception, limit: timedelta) -> str:
    if isinstance(error, ProbeFailure):
        return str(error)
    if isinstance(error, BedplateError):
        return str(error.data.get("reason") or error.code).replace("_", " ")
    if isinstance(error, TimeoutError):
        return f"no answer within {limit.total_seconds():g} s"
    if isinstance(error, asyncpg.UndefinedTableError):
        return "not migrated"
    return type(error).__name__
