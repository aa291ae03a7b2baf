"""/health, /health/live and /health/ready over HTTP; `bedplate.health` asks the servers.

Live says only that the process answers. Ready and /health are 503 when something that is needed is
down. No body carries a version, an address or a secret, and nothing here takes a connection from
the pool that requests use.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from bedplate.health import NEEDED, Probe, Report, check
from bedplate.layer import DataLayer
from bedplate.migrations.readiness import SchemaReadiness

# A probe connects to each server, and anyone may ask: asking often must not use them up.
FRESH = timedelta(seconds=1)
_HEADERS = {"Cache-Control": "no-store"}


def health_router(
    layers: Mapping[str, DataLayer],
    schemas: Mapping[str, SchemaReadiness] = MappingProxyType({}),
    also: Mapping[str, Mapping[str, Probe]] = MappingProxyType({}),
    needed: Collection[str] = NEEDED,
) -> APIRouter:
    """The three routes, for these layers by the name of their system.

    A system with a schema is ready only when its database has every revision. `also` are further
    probes of each system, and `needed` the services without which it is not ready.
    """
    return Probes(layers, schemas, also, needed).router()


class Probes:
    """One round at a time; who asks meanwhile, or within `FRESH` of its end, gets its reports."""

    def __init__(
        self,
        layers: Mapping[str, DataLayer],
        schemas: Mapping[str, SchemaReadiness],
        also: Mapping[str, Mapping[str, Probe]] = MappingProxyType({}),
        needed: Collection[str] = NEEDED,
    ) -> None:
        self._layers = layers
        self._schemas = schemas
        self._also = also
        self._needed = needed
        self._lock = asyncio.Lock()
        self._reports: dict[str, Report] = {}
        self._fresh_until = 0.0

    def router(self) -> APIRouter:
        """The three routes."""
        router = APIRouter(prefix="/health", tags=["health"])

        @router.get("", summary="Every service: up or down, latency, reason")
        async def health() -> JSONResponse:
            reports = await self.reports()
            return _answer(reports, {"systems": _described(reports)})

        @router.get("/live", summary="The process answers")
        async def live() -> JSONResponse:
            return JSONResponse({"status": "ok"}, headers=_HEADERS)

        @router.get("/ready", summary="Requests can be served")
        async def ready() -> JSONResponse:
            return _answer(await self.reports(), {})

        return router

    async def reports(self) -> Mapping[str, Report]:
        """What the last round found, by the name of the system."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                found = await asyncio.gather(*(self._check(name) for name in self._layers))
                self._reports = dict(zip(self._layers, found, strict=True))
                self._fresh_until = time.monotonic() + FRESH.total_seconds()
            return self._reports

    async def _check(self, name: str) -> Report:
        also = dict(self._also.get(name, {}))
        if (schema := self._schemas.get(name)) is not None:
            also["migrations"] = _probe_of(schema)
        return await check(self._layers[name], also=also, needed=self._needed)


def _probe_of(schema: SchemaReadiness) -> Probe:
    async def probe(_layer: DataLayer) -> None:
        await schema.require_current()

    return probe


def _answer(reports: Mapping[str, Report], details: dict[str, Any]) -> JSONResponse:
    is_ready = all(report.is_ready for report in reports.values())
    is_healthy = all(report.is_healthy for report in reports.values())
    status = "ok" if is_healthy else "degraded" if is_ready else "unavailable"
    return JSONResponse({"status": status, **details}, 200 if is_ready else 503, _HEADERS)


def _described(reports: Mapping[str, Report]) -> dict[str, Any]:
    return {
        system: {
            name: {
                "status": "up" if service.is_up else "down",
                "latency_ms": service.latency_ms,
                "reason": service.reason,
            }
            for name, service in report.services.items()
        }
        for system, report in reports.items()
    }
