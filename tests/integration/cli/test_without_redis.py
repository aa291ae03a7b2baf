"""`bedplate run` with BEDPLATE_REDIS=false: no Redis anywhere, and everything works."""

import asyncio
import json
import signal
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from bedplate.jobs import ledger
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from tests.integration.cli.conftest import SECONDS, Bedplate, Running
from tests.integration.delivery.ledger_view import until


@pytest.fixture(scope="module")
def running(sample: Bedplate) -> Iterator[Running]:
    """`run` without Redis, once it is ready."""
    sample.environment["BEDPLATE_REDIS"] = "false"
    started = sample.start("run", "--port", "0")
    started.wait_for("^stop +Ctrl-C")
    yield started
    if started.process.poll() is None:
        started.end(signal.SIGKILL)


def test_no_redis_is_started_and_everything_is_healthy(running: Running, sample: Bedplate) -> None:
    """What is not there is not missed, and not reported as down."""
    address = running.wait_for(r"^everything +(http://\S+)")[1]
    with urllib.request.urlopen(f"{address}/health", timeout=SECONDS) as answer:  # noqa: S310 - ours
        health = json.load(answer)
    assert health["status"] == "ok", health
    assert "database" in json.dumps(health["systems"])
    assert "redis" not in json.dumps(health["systems"])
    assert "valkey" not in sample.processes()


async def test_the_worker_takes_jobs_from_postgresql(running: Running, sample: Bedplate) -> None:
    """A job of a task that nobody knows: the worker that took it says so."""
    done = await asyncio.to_thread(sample.json, "env")
    variables = {**sample.environment, **done["data"]["environment"]}
    async with DataLayer(Settings.load("sample", variables), name="sample") as layer:
        job = ledger.PendingJob(id=new_id(), task="sample.none", queue="default", arguments={})
        async with layer.owner_database.engine.begin() as connection:
            await ledger.insert(connection, [job])

        async def look() -> Any:
            async with layer.owner_database.engine.connect() as connection:
                return (await ledger.load(connection, job.id)).last_error

        assert "no task is named" in await until(look, "the worker looks at the job")


def test_the_worker_ends_with_the_rest(running: Running) -> None:
    """Ctrl-C, and no process has to be killed."""
    assert running.end(signal.SIGINT) == 130
    assert not [line for line in running.said if "was killed" in line]
