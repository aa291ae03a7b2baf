"""Health on real servers."""

import re

import httpx
import pytest
from sqlalchemy import text

from bedplate.fastapi import create_app
from bedplate.layer import DataLayer


@pytest.mark.fault(28, holds="I11 I14", every_run=True)
async def test_fault_28_health_answers_when_the_pool_is_exhausted(layer: DataLayer) -> None:
    """A busy process is alive and ready: its health must not wait for its own requests."""
    small = layer.settings.model_copy(update={"pool_size": 1, "max_overflow": 0})
    async with DataLayer(small, name=layer.name) as one, one.transaction() as holding:
        await holding.execute(text("SELECT 1"))
        response = await get(one, "/health/ready")
    assert response.status_code == 200


async def test_health_shows_no_version_address_or_secret(layer: DataLayer) -> None:
    """Anyone may ask, so it helps nobody to attack."""
    body = (await get(layer, "/health")).text
    # A latency may be any number, also one that looks like a version.
    told = re.sub(r'"latency_ms":[0-9.]+', "", body)
    url = layer.settings.database()
    for telling in ("://", "PostgreSQL", "Valkey", url.host, str(url.port), url.password or "://"):
        assert telling not in told
    assert not re.search(r"\d+\.\d+", told)


async def test_closed_database_is_unavailable(layer: DataLayer) -> None:
    """A port where nobody answers: 503, at once, with a reason."""
    url = layer.settings.database()
    nowhere = f"postgresql://{url.user}@127.0.0.1:1/{url.database}"
    settings = layer.settings.model_validate(
        {"DATABASE_URL": nowhere, "REDIS_URL": layer.settings.redis()}
    )
    there_is_none = DataLayer(settings, name=layer.name)
    response = await get(there_is_none, "/health")
    await there_is_none.close()
    assert response.status_code == 503
    assert response.json()["systems"][layer.name]["database"]["status"] == "down"
    assert response.json()["systems"][layer.name]["database"]["reason"]


async def get(layer: DataLayer, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=create_app(layer))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path)
