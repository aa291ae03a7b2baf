"""Health says which service is down and why, in time, and never fails itself."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from bedplate.health import check
from bedplate.layer import DataLayer
from bedplate.settings import Settings

NOWHERE = {
    "redis_url": SecretStr("redis://:hush@127.0.0.1:1/0"),
    "database_url": SecretStr("postgresql://u:hush@127.0.0.1:1/d"),
}


def without(settings: Settings, *services: str) -> DataLayer:
    """A layer, not opened, whose services lie where nobody answers."""
    return DataLayer(settings.model_copy(update={name: NOWHERE[name] for name in services}))


async def test_everything_up_is_ready_and_healthy(layer: DataLayer) -> None:
    """With a latency each, and no reason."""
    report = await check(layer)
    assert set(report.services) == {"database", "redis", "relay"}
    assert report.is_ready
    assert report.is_healthy
    assert all(0 < service.latency_ms < 2000 for service in report.services.values())
    assert {service.reason for service in report.services.values()} == {None}


async def test_a_redis_that_is_down_is_said_and_stops_nothing(
    librilabs_settings: Settings, layer: DataLayer
) -> None:
    """Writes commit without it: taking every replica out of service would be the greater harm."""
    lost = without(librilabs_settings, "redis_url")
    report = await check(lost)
    await lost.close()
    assert not report.services["redis"].is_up
    assert report.is_ready
    assert not report.is_healthy


async def test_a_database_that_is_down_is_not_ready(librilabs_settings: Settings) -> None:
    """And the reason carries neither address nor password."""
    lost = without(librilabs_settings, "database_url")
    report = await check(lost)
    await lost.close()
    assert not report.is_ready
    reason = report.services["database"].reason or ""
    assert reason == "refused"
    assert "hush" not in str(report)


async def test_a_lagging_relay_is_down(layer: DataLayer) -> None:
    """A job that has been due for longer than 30 s means that nobody takes it."""
    late = text(
        "INSERT INTO bedplate.jobs (task, queue, run_at)"
        " VALUES ('t.t', 'q', now() - interval '31 s')"
    )
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(late)
    report = await check(layer)
    assert not report.services["relay"].is_up
    assert "relay" in (report.services["relay"].reason or "")
    assert report.is_ready


async def test_a_used_up_pool_does_not_silence_health(layer: DataLayer) -> None:
    """It is then that health is asked."""
    pool_most = layer.settings.pool_size + layer.settings.max_overflow
    held = [await layer.database.engine.connect() for _ in range(pool_most)]
    try:
        assert (await check(layer)).is_ready
    finally:
        for connection in held:
            await connection.close()


async def test_a_probe_that_hangs_is_cut_off(
    layer: DataLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that vanished without a word answers nothing at all."""

    async def hang(*_all: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(layer.redis, "ping", hang)
    report = await check(layer, limit=timedelta(milliseconds=500))
    assert report.services["redis"].reason == "no answer within 0.5 s"
    assert report.services["database"].is_up
