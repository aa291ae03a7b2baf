"""What every test of a fault stands on: servers, the sample system, its processes, a seed.

`faults_database` a migrated database with the sample system's tables, emptied after each test ·
`faults_layer` an open layer on it, with files · `processes` starts API, relay and worker ·
`weed` an S3 that may be killed · `seed` random numbers that a failure names · `look` what is
committed, as the owner sees it.
"""

import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import upgrade
from bedplate.rows.database import Database
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import Clones, ScratchDatabase
from tests.faults.look import Look
from tests.faults.processes import Processes
from tests.faults.sample_system import CREATE_TABLES, LEASE_SECONDS, NAME, SYSTEM
from tests.faults.tcp_proxy import TcpProxy
from tests.integration.files.weed import Weed

SEED_VARIABLE = "FAULT_SEED"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers: from FAULT_SEED, else new ones each time. A failed test shows the seed."""
    value = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(10**9))
    request.node.user_properties.append(("seed", value))
    print(f"{SEED_VARIABLE}={value}")  # noqa: T201 - pytest shows it when a test fails
    return random.Random(value)  # noqa: S311 - it is to be repeatable


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """SeaweedFS, once per process of the run; who kills it starts it again."""
    weed = Weed(tmp_path_factory.mktemp("weed"))
    try:
        weed.start()
        yield weed
    finally:
        weed.stop()


@pytest.fixture(scope="session")
def _faults_database(
    clones: Clones, background: BackgroundLoop, worker_redis_url: str
) -> Iterator[ScratchDatabase]:
    scratch = clones.blank("librilabs", worker_redis_url)
    background.run(_prepare(scratch))
    clones.watch(scratch)
    yield scratch
    clones.drop(scratch)


@pytest.fixture
def faults_database(
    clones: Clones, _faults_database: ScratchDatabase, redis_url: str
) -> Iterator[ScratchDatabase]:
    """The sample system's database; afterwards emptied, which fails when something is locked."""
    yield _faults_database
    clones.reset(_faults_database)


@pytest.fixture
def variables(faults_database: ScratchDatabase, weed: Weed) -> dict[str, str]:
    """The environment of the sample system's processes; short leases."""
    return {
        **faults_database.variables(),
        **weed.s3_of(NAME).variables(),
        "BEDPLATE_LEASE": LEASE_SECONDS,
    }


@pytest.fixture
async def faults_layer(
    faults_database: ScratchDatabase, variables: dict[str, str]
) -> AsyncIterator[DataLayer]:
    """An open layer of the sample system."""
    async with DataLayer(faults_database.settings(**variables), name=NAME) as layer:
        yield layer


@pytest.fixture
def look(faults_layer: DataLayer) -> Look:
    """What is committed, looked at from outside."""
    return Look(faults_layer)


@pytest.fixture
def processes(variables: dict[str, str], tmp_path: Path) -> Iterator[Processes]:
    """Starts processes; all are killed afterwards, and what they said is shown at a failure."""
    processes = Processes(tmp_path, variables)
    yield processes
    processes.close()


@pytest.fixture
def proxy_before() -> Iterator[Callable[[str], TcpProxy]]:
    """Puts a proxy before the server that a URL names: `proxy_before(url).in_url(url)`."""
    opened: list[TcpProxy] = []

    def put(url: str) -> TcpProxy:
        opened.append(TcpProxy.before(url).__enter__())
        return opened[-1]

    yield put
    for proxy in opened:
        proxy.__exit__()


async def create_tables(scratch: ScratchDatabase) -> None:
    """The sample system's own tables, which the serving role may use."""
    async with Database(scratch.url) as database, database.engine.begin() as owner:
        for statement in CREATE_TABLES:
            await owner.execute(text(statement))


async def _prepare(scratch: ScratchDatabase) -> None:
    await upgrade(SYSTEM, scratch.settings())
    await create_tables(scratch)
