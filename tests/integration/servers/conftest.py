"""Projects for the tests of the embedded servers, each stopped and checked afterwards."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bedplate.project import Project, SystemEntry
from bedplate.servers.client import stop
from tests.integration.servers import probes

MakeProject = Callable[..., Project]


@pytest.fixture(scope="session")
def prepared_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a project that was started before: copied where initdb is no matter."""
    project = probes.project_in(tmp_path_factory.mktemp("prepared"))
    probes.up(project)
    stop(project)
    # Two copies must not fight for one port.
    (project.state / "ports.json").unlink()
    return project.state


@pytest.fixture
def make_project(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeProject]:
    """Projects in folders of their own; nothing of them may run after the test."""
    made: list[Project] = []

    def make(
        *systems: SystemEntry, folder: Path | None = None, is_prepared: bool = False
    ) -> Project:
        folder = folder or tmp_path / f"project{len(made)}"
        folder.mkdir(parents=True, exist_ok=True)
        made.append(probes.project_in(folder, *systems))
        if is_prepared:
            shutil.copytree(request.getfixturevalue("prepared_state"), made[-1].state)
        return made[-1]

    yield make
    for project in made:
        stop(project, probes.PATIENCE)
    assert probes.processes_in(tmp_path) == []


@pytest.fixture
def pinned_ports() -> Iterator[None]:
    """One test at a time, of all processes of pytest, has to do with ports 5432 and 6379."""
    path = Path(tempfile.gettempdir()) / f"bedplate-test-pinned-{os.getuid()}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's, whatever pytest's own is."""
    with tempfile.TemporaryDirectory(prefix="bp-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the tests of a file, so that only the first of them pays initdb."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture
def project(module_folder: Path) -> Iterator[Project]:
    """A project that may have been started before; nothing of it may run after the test."""
    found = probes.project_in(module_folder)
    yield found
    stop(found, probes.PATIENCE)
    probes.wait_for(lambda: probes.processes_in(module_folder) == [])
