"""The health check: each service up or down, how long it took, and why; 503 when one is needed."""

from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from pydantic import SecretStr

from bedplate.cache import attendance
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System
from tests.systems.conftest import BASE_URL

# PostgreSQL, Redis, S3, Celery; and the relay, which brings jobs from one to the other.
SERVICES = {"database", "redis", "s3", "worker", "relay"}
NOWHERE: dict[str, dict[str, Any]] = {
    "database": {"database_url": SecretStr("postgresql://u:hush@127.0.0.1:1/d")},
    "redis": {"redis_url": SecretStr("redis://:hush@127.0.0.1:1/0")},
    "s3": {"s3_endpoint_url": "http://127.0.0.1:1"},
}


async def health_of(
    system: System, settings: Settings, path: str = "/health"
) -> tuple[int, dict[str, Any]]:
    """Status and services, as an application with these settings says."""
    layer = DataLayer(settings, name="pdf_translator")
    transport = ASGITransport(system.create_app(layer))
    try:
        async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
            answer = await client.get(path)
    finally:
        await layer.close()
    return answer.status_code, answer.json()


async def test_P10_every_service_is_up_with_its_latency(
    bedplate_system: System, layer: DataLayer
) -> None:
    """200, "ok", and no reason where nothing is wrong."""
    await attendance.renew(layer.redis.client(), "pdf_translator")
    status, body = await health_of(bedplate_system, layer.settings)
    services = body["systems"]["pdf_translator"]
    assert (status, body["status"]) == (200, "ok")
    assert set(services) == SERVICES
    for name, service in services.items():
        assert (service["status"], service["reason"]) == ("up", None), name
        assert 0 < service["latency_ms"] < 2000


@pytest.mark.parametrize("service", NOWHERE)
async def test_P10_a_needed_service_that_is_down_is_a_503_that_says_why(
    bedplate_system: System, layer: DataLayer, service: str
) -> None:
    """Without Redis nobody is signed in, without S3 nothing is uploaded; no secret is told."""
    settings = layer.settings.model_copy(update=NOWHERE[service])
    for path in ("/health", "/health/ready"):
        status, body = await health_of(bedplate_system, settings, path)
        assert (status, body["status"]) == (503, "unavailable")
    status, body = await health_of(bedplate_system, settings)
    down = body["systems"]["pdf_translator"][service]
    assert down["status"] == "down"
    assert down["reason"]
    assert "hush" not in str(body)
    assert (await health_of(bedplate_system, settings, "/health/live"))[0] == 200


async def test_P10_without_a_worker_health_is_degraded_and_says_so(
    bedplate_system: System, layer: DataLayer
) -> None:
    """Uploads are taken and wait: the service is worse, and not away."""
    status, body = await health_of(bedplate_system, layer.settings)
    assert (status, body["status"]) == (200, "degraded")
    worker = body["systems"]["pdf_translator"]["worker"]
    assert (worker["status"], worker["reason"]) == ("down", "no worker is there")
