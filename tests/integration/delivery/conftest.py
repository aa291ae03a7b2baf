"""A worker and its servers: the worker once per module, in real processes; the relay per test."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Worker
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import ScratchDatabase
from tests.integration.delivery.ledger_view import LedgerView
from tests.integration.delivery.sample_system import CREATE_EFFECTS, DEADLINE, NAME, SYSTEM
from tests.texts import ROOT

LEASE_SECONDS = "2"

Starter = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def effects_table(
    librilabs_database: ScratchDatabase, background: BackgroundLoop
) -> Iterator[None]:
    """The table of effects, which the serving role may write; gone before other modules look."""

    async def execute(*statements: str) -> None:
        async with Database(librilabs_database.url) as database, database.engine.begin() as owner:
            for statement in statements:
                await owner.execute(text(statement))

    role = librilabs_database.role
    background.run(execute(CREATE_EFFECTS, f'GRANT SELECT, INSERT ON delivery_effects TO "{role}"'))
    yield
    background.run(execute("DROP TABLE delivery_effects"))


@pytest.fixture
async def sample_layer(committed: ScratchDatabase, effects_table: None) -> AsyncIterator[DataLayer]:
    """An open layer of the sample system with a short lease."""
    settings = committed.settings(BEDPLATE_LEASE=LEASE_SECONDS)
    async with DataLayer(settings, name=NAME) as layer:
        yield layer


@pytest.fixture
def view(sample_layer: DataLayer) -> LedgerView:
    """The ledger, looked at from outside."""
    return LedgerView(sample_layer)


@pytest.fixture
async def broker(sample_layer: DataLayer) -> AsyncIterator[Broker]:
    """A broker on this worker's Redis."""
    async with Broker(sample_layer.settings.redis()) as broker:
        yield broker


@pytest.fixture
async def worker(sample_layer: DataLayer) -> AsyncIterator[Worker]:
    """A worker in this process."""
    async with Worker(
        sample_layer,
        sample_layer.owner_database,
        registry_of(SYSTEM.tasks),
        lease=sample_layer.settings.lease,
    ) as worker:
        yield worker


@pytest.fixture
async def relay(sample_layer: DataLayer, broker: Broker) -> AsyncIterator[Relay]:
    """A relay that runs during the test, with a short deadline."""
    relay = Relay(sample_layer, broker, deadline=DEADLINE)
    running = asyncio.create_task(relay.run())
    yield relay
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture(scope="module")
def start(
    librilabs_database: ScratchDatabase,
    effects_table: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Starter]:
    """Start a process of the sample system; all are gone, with their children, afterwards."""
    folder = tmp_path_factory.mktemp("processes")
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        variables = {**librilabs_database.variables(), "BEDPLATE_LEASE": LEASE_SECONDS, **more}
        with (folder / f"{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.delivery.sample_system", *arguments],
                cwd=ROOT,
                env={**os.environ, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        _end(process)
    for log in sorted(folder.glob("*.log")):
        print(f"--- {log.name}\n{_tail(log)}")  # noqa: T201 - pytest shows it when a test fails


@pytest.fixture(scope="module")
def worker_process(start: Starter) -> "subprocess.Popen[bytes]":
    """A Celery worker with two pool children."""
    return start()


def _end(process: "subprocess.Popen[bytes]") -> None:
    # The group, because a worker that was killed leaves its children to the signal of its death.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])
