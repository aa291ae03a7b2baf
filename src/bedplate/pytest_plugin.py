"""Fixtures for tests of a backend: real servers, and a database for each process of the run.

    # conftest.py
    pytest_plugins = ["bedplate.pytest_plugin"]

`bedplate_layer` an open layer, emptied after the test · `bedplate_session` rows only, rolled back
after it · `bedplate_crashes` crashes a function at every step · `bedplate_database` the database
itself · `bedplate_own_database` one of the test's own.
To be overridden: `bedplate_system_name` where a project has several systems (in the folder of each
system's tests), and
`bedplate_variables`, which `bedplate_s3` is returned from by tests that store files.
Nothing starts, and nothing heavy is imported, before a test asks for it.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from bedplate.layer import DataLayer
    from bedplate.project import Project
    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.testing.background import BackgroundLoop
    from bedplate.testing.clones import Clones, ScratchDatabase
    from bedplate.testing.crashes import Crashes
    from bedplate.testing.stack import Servers

# Read by the workers of pytest-xdist, which inherit it.
STATE_VARIABLE = "BEDPLATE_TEST_STATE_DIR"
# Valkey and Redis have 16 databases; a worker takes the one of its number.
REDIS_DATABASES = 16
# A forgotten `await` would let every assertion pass. Python warns of it where nothing can be
# raised, and pytest hands that on as a warning of its own.
UNAWAITED = (
    "error:coroutine '(assert_|drain|recover|Crashes):RuntimeWarning",
    (
        "error:Exception ignored in. <coroutine object (assert_|drain|recover|Crashes)"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
)


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run chooses the folder that all of its processes share."""
    for line in UNAWAITED:
        config.addinivalue_line("filterwarnings", line)
    if hasattr(config, "workerinput") or STATE_VARIABLE in os.environ:
        return
    from bedplate.testing.folder import choose_folder

    folder, root = choose_folder(), config.rootpath
    os.environ[STATE_VARIABLE] = str(folder)
    config.add_cleanup(lambda: _end_run(folder, root))


@pytest.fixture(scope="session")
def bedplate_project(request: pytest.FixtureRequest) -> "Project":
    """The project, as its pyproject.toml describes it."""
    from bedplate.project import Project

    return Project.find({}, request.config.rootpath)


@pytest.fixture(scope="session")
def bedplate_system_name(bedplate_project: "Project") -> str:
    """Which system is tested. To be overridden where the project has several."""
    names = [entry.name for entry in bedplate_project.systems]
    if len(names) > 1:
        pytest.fail(
            f"{bedplate_project.root} has the systems {', '.join(names)}; "
            "write a fixture bedplate_system_name that returns the one that is tested"
        )
    return names[0]


@pytest.fixture
def bedplate_system(bedplate_project: "Project", bedplate_system_name: str) -> "System":
    """The system that is tested."""
    from bedplate.system import load_system

    return load_system(bedplate_project, bedplate_project.entry(bedplate_system_name))


@pytest.fixture(scope="session")
def bedplate_servers(bedplate_project: "Project") -> "Iterator[Servers]":
    """Real servers, started once per run, or those that TEST_DATABASE_URL and so on name."""
    from bedplate.testing.stack import open_servers

    folder = Path(os.environ[STATE_VARIABLE])
    with open_servers(bedplate_project, folder, os.environ) as servers:
        yield servers


@pytest.fixture(scope="session")
def bedplate_s3_variables(
    bedplate_project: "Project", bedplate_servers: "Servers"
) -> "Iterator[dict[str, str]]":
    """The variables that lead each system to its files on the run's S3, started for who asks."""
    from bedplate.testing.stack import open_files

    with open_files(bedplate_project, bedplate_servers.folder, os.environ) as variables:
        yield variables


@pytest.fixture
def bedplate_s3(bedplate_s3_variables: dict[str, str], bedplate_system_name: str) -> dict[str, str]:
    """The same for the system that is tested, by the names that it reads when it is alone."""
    from bedplate.environment import prefixed_for
    from bedplate.settings import PER_SYSTEM

    own = prefixed_for(bedplate_system_name, bedplate_s3_variables, PER_SYSTEM)
    return bedplate_s3_variables | own


@pytest.fixture
def bedplate_variables() -> Mapping[str, str]:
    """More variables for the layer's settings. To be overridden."""
    return {}


@pytest.fixture(scope="session")
def bedplate_background() -> "Iterator[BackgroundLoop]":
    """An event loop for what outlives a test."""
    from bedplate.testing.background import BackgroundLoop

    with BackgroundLoop() as background:
        yield background


@pytest.fixture(scope="session")
def bedplate_clones(
    bedplate_servers: "Servers", bedplate_background: "BackgroundLoop"
) -> "Iterator[Clones]":
    """Makes databases on the run's server."""
    from bedplate.testing.clones import Clones

    with Clones(bedplate_servers, bedplate_background) as clones:
        yield clones


@pytest.fixture(scope="session")
def bedplate_worker_redis_url(
    bedplate_servers: "Servers", bedplate_background: "BackgroundLoop"
) -> str:
    """The Redis database that is this process' own; emptied now."""
    from bedplate.testing.redis_database import empty, with_number

    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    url = with_number(bedplate_servers.redis_url, number % REDIS_DATABASES)
    bedplate_background.run(empty(url))
    return url


@pytest.fixture
def bedplate_redis_url(
    bedplate_worker_redis_url: str, bedplate_background: "BackgroundLoop"
) -> Iterator[str]:
    """A Redis URL whose keys are gone after the test."""
    from bedplate.testing.redis_database import empty

    yield bedplate_worker_redis_url
    bedplate_background.run(empty(bedplate_worker_redis_url))


@pytest.fixture(scope="session")
def bedplate_databases(
    bedplate_project: "Project", bedplate_clones: "Clones", bedplate_worker_redis_url: str
) -> "Iterator[Callable[[str], ScratchDatabase]]":
    """This process' migrated database of the system of that name, made for who first asks."""
    from bedplate.system import load_system

    made: dict[str, ScratchDatabase] = {}

    def database_of(name: str) -> "ScratchDatabase":
        if name not in made:
            system = load_system(bedplate_project, bedplate_project.entry(name))
            made[name] = bedplate_clones.clone(system, bedplate_worker_redis_url)
        return made[name]

    yield database_of
    for scratch in made.values():
        bedplate_clones.drop(scratch)


@pytest.fixture
def bedplate_worker_database(
    bedplate_databases: "Callable[[str], ScratchDatabase]", bedplate_system_name: str
) -> "ScratchDatabase":
    """This process' migrated database, which nobody empties. To commit, take another fixture."""
    return bedplate_databases(bedplate_system_name)


@pytest.fixture
def bedplate_settings(
    bedplate_worker_database: "ScratchDatabase", bedplate_variables: Mapping[str, str]
) -> "Settings":
    """Settings for this process' database and Redis."""
    return bedplate_worker_database.settings(**bedplate_variables)


@pytest.fixture
def bedplate_database(
    bedplate_clones: "Clones",
    bedplate_worker_database: "ScratchDatabase",
    bedplate_redis_url: str,
) -> "Iterator[ScratchDatabase]":
    """This process' database for a test that commits: what it wrote is deleted afterwards."""
    yield bedplate_worker_database
    bedplate_clones.reset(bedplate_worker_database)


@pytest.fixture
def bedplate_own_database(
    bedplate_clones: "Clones", bedplate_system: "System", bedplate_redis_url: str
) -> "Iterator[ScratchDatabase]":
    """A migrated database of the test's own, for one that changes what migrations inserted."""
    scratch = bedplate_clones.clone(bedplate_system, bedplate_redis_url)
    yield scratch
    bedplate_clones.drop(scratch)


@pytest_asyncio.fixture
async def bedplate_layer(
    bedplate_database: "ScratchDatabase", bedplate_settings: "Settings", bedplate_system_name: str
) -> "AsyncIterator[DataLayer]":
    """An open layer on this process' database; what the test committed is deleted afterwards."""
    from bedplate.layer import DataLayer

    async with DataLayer(bedplate_settings, name=bedplate_system_name) as layer:
        yield layer


@pytest.fixture
def bedplate_crashes(
    bedplate_database: "ScratchDatabase",
    bedplate_settings: "Settings",
    bedplate_system: "System",
    bedplate_clones: "Clones",
    bedplate_background: "BackgroundLoop",
) -> "Crashes":
    """Crashes a function at every step that it passes, see `bedplate.testing.Crashes.run`."""
    from bedplate.testing.crashes import Crashes
    from bedplate.testing.redis_database import empty

    def reset() -> None:
        bedplate_clones.reset(bedplate_database)
        bedplate_background.run(empty(bedplate_database.redis_url))

    return Crashes(bedplate_settings, bedplate_system.name, bedplate_system.tasks, reset)


@pytest_asyncio.fixture
async def bedplate_session(bedplate_settings: "Settings") -> "AsyncIterator[AsyncSession]":
    """A session as the serving role, for rows on one connection: all of it is rolled back.

    Its commits are savepoints: other connections see nothing, and `now()` stands still.
    """
    from bedplate.rows.database import Database
    from bedplate.testing.savepoints import savepoint_session

    async with (
        Database.from_settings(bedplate_settings) as database,
        savepoint_session(database) as session,
    ):
        yield session


def _end_run(folder: Path, root: Path) -> None:
    del os.environ[STATE_VARIABLE]
    if any(folder.iterdir()):
        from bedplate.project import Project
        from bedplate.testing.stack import stop_servers

        stop_servers(Project.find({}, root), folder)
    shutil.rmtree(folder, ignore_errors=True)
