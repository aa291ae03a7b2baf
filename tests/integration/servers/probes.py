"""What the tests of the embedded servers ask of real processes: rows, keys, pids, listeners."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import asyncpg

from bedplate.project import Project, SystemEntry
from bedplate.servers import process
from bedplate.servers.client import attach, read_state
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState

PATIENCE = timedelta(seconds=20)
SHOP = SystemEntry("shop", None, "shop_data", "shop_owner", "shop_dev")
BLOG = SystemEntry("blog", None, "blog", "blog", "blog_dev")
# What a person's terminal does: attach in the foreground and stay until it is killed.
FOREGROUND = """
import sys, threading
from pathlib import Path
from bedplate.project import Project, SystemEntry
from bedplate.servers.client import attach
from bedplate.servers.stack import StackOptions
systems = (SystemEntry("shop", None, "shop_data", "shop_owner", "shop_dev"),)
project = Project(Path(sys.argv[1]), systems, Path(sys.argv[2]))
with attach(project, StackOptions()) as stack:
    print(stack.state.supervisor_pid, flush=True)
    stack.wait()
"""


def project_in(folder: Path, *systems: SystemEntry) -> Project:
    """A project whose state lies in `folder`."""
    return Project(root=folder, systems=systems or (SHOP,), state=folder / ".bedplate")


def up(project: Project, *, options: StackOptions | None = None) -> StackState:
    """Start it, detached."""
    return attach(project, options or StackOptions(), detach=True, timeout=PATIENCE * 2).state


def wait_for(is_done: Callable[[], object]) -> None:
    """Poll until it comes true; fail when it does not."""
    assert process.wait_until(lambda: bool(is_done()), PATIENCE), "it did not come true in time"


async def write_mark(state: StackState, value: str) -> None:
    """Commit a row, and set a key."""
    connection = await asyncpg.connect(state.databases["shop"])
    await connection.execute("CREATE TABLE IF NOT EXISTS mark (value text)")
    await connection.execute("INSERT INTO mark VALUES ($1)", value)
    await connection.close()
    assert redis(state, "SET", "mark", value) == b"+OK"


async def read_marks(state: StackState) -> tuple[list[str], bytes]:
    """The rows and the key."""
    connection = await asyncpg.connect(state.databases["shop"])
    rows = await connection.fetch("SELECT value FROM mark")
    await connection.close()
    return [row["value"] for row in rows], redis(state, "GET", "mark").partition(b"\r\n")[2]


def redis(state: StackState, *words: str, password: str | None = None) -> bytes:
    """One command's raw answer; with the stack's password unless another is given."""
    if password is None:
        password = state.redis_url.rpartition("@")[0].rpartition(":")[2]
    with socket.create_connection(("127.0.0.1", state.service("valkey").port), 5) as link:
        if password:
            link.sendall(f"AUTH {password}\r\n".encode())
            link.recv(1000)
        link.sendall(" ".join(words).encode() + b"\r\n")
        return link.recv(1000).strip()


def is_running(pid: int) -> bool:
    """Whether a process of that pid runs (a zombie does not)."""
    return process.identify(pid) is not None


def pids_of(state: StackState) -> list[int]:
    """Supervisor and servers."""
    return [state.supervisor_pid, *(service.pid for service in state.services)]


def kill(pid: int) -> None:
    """As the kernel or an impatient person does, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_running(pid))


def restarted(project: Project, name: str, former_pid: int) -> StackState:
    """The state once a server runs again under another pid."""
    found: list[StackState] = []

    def is_back() -> bool:
        state = read_state(project)
        if state is None or not state.service(name).is_up:
            return False
        found.append(state)
        return state.service(name).pid != former_pid

    wait_for(is_back)
    return found[-1]


def open_foreground(project: Project) -> "subprocess.Popen[str]":
    """A client of its own process, up when this returns."""
    child = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, str(project.root), str(project.state)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip().isdigit()
    return child


def processes_in(folder: Path) -> list[str]:
    """Every process that works somewhere in `folder`."""
    root = folder.resolve()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            current = process.working_folder(int(entry.name))
            identity = process.identify(int(entry.name))
            if current is not None and identity and current.is_relative_to(root):
                found.append(f"{identity.pid} {identity.executable}")
    return found


def monotonic_ms(began: float) -> float:
    """Milliseconds since."""
    return (time.monotonic() - began) * 1000
