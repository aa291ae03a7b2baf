"""What the health routes answer to what the probes find."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bedplate.fastapi import health as door
from bedplate.fastapi import health_router
from bedplate.health import Report, ServiceHealth
from bedplate.layer import DataLayer
from bedplate.settings import Settings

UP = ServiceHealth(True, 1.5)
DOWN = ServiceHealth(False, 2000.0, "no answer within 2 s")


class Probes:
    """Stands in for `bedplate.health.check`."""

    def __init__(self, **services: ServiceHealth) -> None:
        self.report = Report({"database": UP, "redis": UP, "relay": UP, **services})
        self.rounds = 0

    async def check(self, _layer: DataLayer, **_options: object) -> Report:
        self.rounds += 1
        return self.report


def client_of(monkeypatch: pytest.MonkeyPatch, probes: Probes, *systems: str) -> httpx.AsyncClient:
    monkeypatch.setattr(door, "check", probes.check)
    settings = Settings.load(variables={})
    app = FastAPI()
    app.include_router(health_router({name: DataLayer(settings, name=name) for name in systems}))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


@pytest.mark.parametrize(
    ("services", "code", "status"),
    [
        ({}, 200, "ok"),
        ({"redis": DOWN}, 200, "degraded"),
        ({"relay": DOWN}, 200, "degraded"),
        ({"database": DOWN}, 503, "unavailable"),
    ],
)
async def test_only_what_is_needed_makes_it_unavailable(
    services: dict[str, ServiceHealth], code: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that is down must not take every replica out of service."""
    async with client_of(monkeypatch, Probes(**services), "shop") as client:
        for path in ("/health", "/health/ready"):
            response = await client.get(path)
            assert (response.status_code, response.json()["status"]) == (code, status)
            assert response.headers["cache-control"] == "no-store"


async def test_every_service_of_every_system_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sees which one it is, how long it took, and why."""
    async with client_of(monkeypatch, Probes(redis=DOWN), "shop", "library") as client:
        systems: dict[str, Any] = (await client.get("/health")).json()["systems"]
    assert list(systems) == ["shop", "library"]
    assert systems["shop"]["database"] == {"status": "up", "latency_ms": 1.5, "reason": None}
    assert systems["library"]["redis"] == {
        "status": "down",
        "latency_ms": 2000.0,
        "reason": "no answer within 2 s",
    }


async def test_live_asks_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart of this process would not bring a database back."""
    probes = Probes(database=DOWN)
    async with client_of(monkeypatch, probes, "shop") as client:
        response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert probes.rounds == 0


async def test_asking_often_probes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round connects to every server: a flood of questions must not use them up."""
    probes = Probes()
    async with client_of(monkeypatch, probes, "shop") as client:
        for _ in range(20):
            await client.get("/health")
    assert probes.rounds == 1


async def test_old_reports_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that went away must be seen within a second."""
    probes = Probes()
    monkeypatch.setattr(door, "FRESH", door.FRESH * 0)
    async with client_of(monkeypatch, probes, "shop") as client:
        await client.get("/health")
        probes.report = Report({"database": DOWN})
        assert (await client.get("/health")).status_code == 503
