"""Fixtures of all tests: those of bedplate's plugin, by short names, and some of our own.

`stack` the servers of this run · `librilabs_settings` this worker's clone · `layer` an open layer
on it, emptied afterwards · `session` rows only, rolled back · `blank_database` an empty one of its
own · `s3_variables` where files are · `redis_url` this worker's, emptied afterwards · `novel`,
`data_folder` the test data.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import stands, texts
from tests.faults import selection

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from bedplate.layer import DataLayer
    from bedplate.project import Project
    from bedplate.settings import Settings
    from bedplate.system import System
    from bedplate.testing.background import BackgroundLoop
    from bedplate.testing.clones import Clones, ScratchDatabase
    from bedplate.testing.stack import Servers

pytest_plugins = ["bedplate.pytest_plugin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--faults` and `--stands`."""
    selection.add_option(parser)
    stands.add_option(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the options leave of the tests."""
    selection.select(config, items)
    stands.select(config, items)


def pytest_configure() -> None:
    """The stand that the tests are to run on."""
    stands.name_postgres(os.environ)


def pytest_report_header() -> str:
    """Say which texts the tests work on."""
    if (texts.data_folder() / texts.NOVEL).is_file():
        return f"test data: {texts.data_folder()}"
    return f"test data: none in {texts.data_folder()}, a generated text stands in for the novel"


@pytest.fixture
def bedplate_system_name() -> str:
    """The system that most tests are about; the folders of the others' tests name theirs."""
    return "librilabs"


@pytest.fixture(scope="session")
def project(bedplate_project: "Project") -> "Project":
    """This project, as its pyproject.toml describes it."""
    return bedplate_project


@pytest.fixture(scope="session")
def stack(bedplate_servers: "Servers") -> "Servers":
    """Real servers, started once per run, or those that TEST_DATABASE_URL and so on name."""
    return bedplate_servers


@pytest.fixture(scope="session")
def s3_variables(bedplate_s3_variables: dict[str, str]) -> dict[str, str]:
    """The variables that lead each system to its files on the run's S3, started for who asks."""
    return bedplate_s3_variables


@pytest.fixture(scope="session")
def background(bedplate_background: "BackgroundLoop") -> "BackgroundLoop":
    """An event loop for what outlives a test."""
    return bedplate_background


@pytest.fixture(scope="session")
def clones(bedplate_clones: "Clones") -> "Clones":
    """Makes databases on the run's server."""
    return bedplate_clones


@pytest.fixture(scope="session")
def worker_redis_url(bedplate_worker_redis_url: str) -> str:
    """The Redis database that is this worker's own."""
    return bedplate_worker_redis_url


@pytest.fixture
def redis_url(bedplate_redis_url: str) -> str:
    """A Redis URL whose keys are gone after the test."""
    return bedplate_redis_url


@pytest.fixture(scope="session")
def librilabs(bedplate_project: "Project") -> "System":
    """The system librilabs."""
    from bedplate.system import load_system

    return load_system(bedplate_project, bedplate_project.entry("librilabs"))


@pytest.fixture(scope="session")
def librilabs_database(
    bedplate_databases: "Callable[[str], ScratchDatabase]",
) -> "ScratchDatabase":
    """This worker's migrated database of librilabs. Who commits to it takes `layer`, too."""
    return bedplate_databases("librilabs")


@pytest.fixture(scope="session")
def librilabs_settings(librilabs_database: "ScratchDatabase") -> "Settings":
    """Settings for this worker's database and Redis."""
    return librilabs_database.settings()


@pytest.fixture
def committed(bedplate_database: "ScratchDatabase") -> "ScratchDatabase":
    """This worker's database for a test that commits: what it wrote is deleted afterwards."""
    return bedplate_database


@pytest.fixture
def layer(bedplate_layer: "DataLayer") -> "DataLayer":
    """An open layer on this worker's database; what the test committed is deleted afterwards."""
    return bedplate_layer


@pytest.fixture
def session(bedplate_session: "AsyncSession") -> "AsyncSession":
    """A session as the serving role, for rows on one connection: all of it is rolled back."""
    return bedplate_session


@pytest.fixture
def blank_database(
    clones: "Clones", redis_url: str, bedplate_system_name: str
) -> "Iterator[ScratchDatabase]":
    """An empty database with owner, serving role and the extension vector; dropped afterwards."""
    scratch = clones.blank(bedplate_system_name, redis_url)
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
