"""/health, /health/live and /health/ready over HTTP; what is asked of the servers is in
`bedplate.health`.

Live says only that the process answers. Ready and /health are 503 when something that is needed is
down. No body carries a version, an address or a secret. Nothing here takes a connection from the
pool that requests use.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from bedplate.health import Report, check
from bedplate.layer import DataLayer

# A stale health is worse than none.
_HEADERS = {"Cache-Control": "no-store"}


def health_router(layers: Mapping[str, DataLayer]) -> APIRouter:
    """The three routes, for these layers by the name of their system."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("", summary="Every service: up or down, latency, reason")
    async def health() -> JSONResponse:
        reports = await _check_all(layers)
        return _answer(reports, {"systems": _described(reports)})

    @router.get("/live", summary="The process answers")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "ok"}, headers=_HEADERS)

    @router.get("/ready", summary="Requests can be served")
    async def ready() -> JSONResponse:
        return _answer(await _check_all(layers), {})

    return router


async def _check_all(layers: Mapping[str, DataLayer]) -> dict[str, Report]:
    reports = await asyncio.gather(*(check(layer) for layer in layers.values()))
    return dict(zip(layers, reports, strict=True))


def _answer(reports: Mapping[str, Report], details: dict[str, Any]) -> JSONResponse:
    is_ready = all(report.is_ready for report in reports.values())
    content = {"status": "ok" if is_ready else "unavailable", **details}
    return JSONResponse(content, 200 if is_ready else 503, _HEADERS)


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
