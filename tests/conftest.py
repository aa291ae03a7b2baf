"""Fixtures of all tests. Nothing starts, and nothing heavy is imported, before a test asks for it.

`stack` the servers of this run · `librilabs_settings` this worker's clone · `layer` an open layer
on it, emptied afterwards · `session` rows only, rolled back · `blank_database` an empty one of its
own · `s3_variables` where files are · `redis_url` this worker's, emptied afterwards · `novel`,
`data_folder` the test data.
"""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import stands, texts
from tests.faults.selection import pytest_addoption as pytest_addoption
from tests.faults.selection import (
    pytest_collection_modifyitems as pytest_collection_modifyitems,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from bedplate.layer import DataLayer
    from bedplate.project import Project
    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.testing.background import BackgroundLoop
    from bedplate.testing.clones import Clones, ScratchDatabase
    from bedplate.testing.stack import Servers

# Read by the workers of pytest-xdist, which inherit it.
STATE_VARIABLE = "BEDPLATE_TEST_STATE_DIR"
# Valkey and Redis have 16 databases; a worker takes the one of its number.
REDIS_DATABASES = 16


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run chooses the folder that all of its processes share."""
    stands.name_postgres(os.environ)
    if hasattr(config, "workerinput") or STATE_VARIABLE in os.environ:
        return
    from bedplate.testing.folder import choose_folder

    folder = choose_folder()
    os.environ[STATE_VARIABLE] = str(folder)
    config.add_cleanup(lambda: _end_run(folder))


def pytest_report_header() -> str:
    """Say which texts the tests work on."""
    if (texts.data_folder() / texts.NOVEL).is_file():
        return f"test data: {texts.data_folder()}"
    return f"test data: none in {texts.data_folder()}, a generated text stands in for the novel"


@pytest.fixture(scope="session")
def project() -> "Project":
    """This project, as its pyproject.toml describes it."""
    from bedplate.project import Project

    return Project.find({}, texts.ROOT)


@pytest.fixture(scope="session")
def stack(project: "Project") -> "Iterator[Servers]":
    """Real servers, started once per run, or those that TEST_DATABASE_URL and so on name."""
    from bedplate.testing.stack import open_servers

    with open_servers(project, Path(os.environ[STATE_VARIABLE]), os.environ) as servers:
        yield servers


@pytest.fixture(scope="session")
def s3_variables(project: "Project", stack: "Servers") -> "Iterator[dict[str, str]]":
    """The variables that lead each system to its files on the run's S3, started for who asks."""
    from bedplate.testing.stack import open_files

    with open_files(project, stack.folder, os.environ) as variables:
        yield variables


@pytest.fixture(scope="session")
def background() -> "Iterator[BackgroundLoop]":
    """An event loop for what outlives a test."""
    from bedplate.testing.background import BackgroundLoop

    with BackgroundLoop() as background:
        yield background


@pytest.fixture(scope="session")
def clones(stack: "Servers", background: "BackgroundLoop") -> "Iterator[Clones]":
    """Makes databases on the run's server."""
    from bedplate.testing.clones import Clones

    with Clones(stack, background) as clones:
        yield clones


@pytest.fixture(scope="session")
def worker_redis_url(stack: "Servers", background: "BackgroundLoop") -> str:
    """The Redis database that is this worker's own; emptied now."""
    from bedplate.testing.redis_database import empty, with_number

    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    url = with_number(stack.redis_url, number % REDIS_DATABASES)
    background.run(empty(url))
    return url


@pytest.fixture
def redis_url(worker_redis_url: str, background: "BackgroundLoop") -> Iterator[str]:
    """A Redis URL whose keys are gone after the test."""
    from bedplate.testing.redis_database import empty

    yield worker_redis_url
    background.run(empty(worker_redis_url))


@pytest.fixture(scope="session")
def librilabs(project: "Project") -> "System":
    """The system librilabs."""
    from bedplate.system import load_system

    return load_system(project, project.entry("librilabs"))


@pytest.fixture(scope="session")
def librilabs_database(
    clones: "Clones", librilabs: "System", worker_redis_url: str
) -> "Iterator[ScratchDatabase]":
    """This worker's migrated database of librilabs. Who commits to it takes `layer`, too."""
    scratch = clones.clone(librilabs, worker_redis_url)
    yield scratch
    clones.drop(scratch)


@pytest.fixture(scope="session")
def librilabs_settings(librilabs_database: "ScratchDatabase") -> "Settings":
    """Settings for this worker's database and Redis."""
    return librilabs_database.settings()


@pytest.fixture
def committed(
    clones: "Clones", librilabs_database: "ScratchDatabase", redis_url: str
) -> "Iterator[ScratchDatabase]":
    """This worker's database for a test that commits: what it wrote is deleted afterwards."""
    yield librilabs_database
    clones.reset(librilabs_database)


@pytest.fixture
async def layer(
    committed: "ScratchDatabase", librilabs_settings: "Settings"
) -> "AsyncIterator[DataLayer]":
    """An open layer on this worker's database; what the test committed is deleted afterwards."""
    from bedplate.layer import DataLayer

    async with DataLayer(librilabs_settings, name="librilabs") as layer:
        yield layer


@pytest.fixture
async def session(librilabs_settings: "Settings") -> "AsyncIterator[AsyncSession]":
    """A session as the serving role, for rows on one connection: all of it is rolled back.

    Its commits are savepoints: other connections see nothing, and `now()` stands still.
    """
    from bedplate.rows.database import Database
    from bedplate.testing.savepoints import savepoint_session

    async with (
        Database.from_settings(librilabs_settings) as database,
        savepoint_session(database) as session,
    ):
        yield session


@pytest.fixture
def blank_database(clones: "Clones", redis_url: str) -> "Iterator[ScratchDatabase]":
    """An empty database with owner, serving role and the extension vector; dropped afterwards."""
    scratch = clones.blank("librilabs", redis_url)
    yield scratch
    clones.drop(scratch)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the test data; without it the test is skipped, or fails where required."""
    folder = texts.data_folder()
    if not folder.is_dir():
        give_up = pytest.fail if texts.is_data_required() else pytest.skip
        give_up(f"no test data in {folder}; set BEDPLATE_TEST_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def novel() -> str:
    """A whole novel; a generated text where the test data is absent and not required."""
    if texts.is_data_required() and not (texts.data_folder() / texts.NOVEL).is_file():
        pytest.fail(f"{texts.NOVEL} is not in {texts.data_folder()}, and REQUIRE_TEST_DATA is set")
    return texts.read_novel()


def _end_run(folder: Path) -> None:
    del os.environ[STATE_VARIABLE]
    if any(folder.iterdir()):
        from bedplate.project import Project
        from bedplate.testing.stack import stop_servers

        stop_servers(Project.find({}, texts.ROOT), folder)
    shutil.rmtree(folder, ignore_errors=True)
