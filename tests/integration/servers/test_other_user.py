"""Another user of the same machine goes over every door of a stack: none opens (attack 14)."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bedplate.project import Project
from bedplate.servers.orphans import SEAWEEDFS_SOCKET
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState
from tests.integration.servers import probes
from tests.integration.servers.test_seaweedfs import PATHS, SECRET, all_listeners, ask, listeners

OPTIONS = StackOptions(durable=False, has_files=True)
# Without this package, which lies where another user may not read.
LOOK = """
import http.client, json, os, socket, sys

def ask(port, method, path):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request(method, path, body=b"x" if method in ("PUT", "POST") else None)
        answer = link.getresponse()
        return [answer.status, answer.read().decode("latin-1")]
    except (http.client.HTTPException, ConnectionError):
        return [None, ""]
    finally:
        link.close()

def enter(path):
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(path)
        except OSError as error:
            return type(error).__name__
    return "entered"

told = json.loads(sys.argv[1])
print(json.dumps({
    "uid": os.geteuid(),
    "answers": [[port, method, path, *ask(port, method, path)] for port in told["ports"]
                for method in ("GET", "PUT", "POST", "DELETE") for path in told["paths"]],
    "doors": {path: enter(path) for path in told["sockets"]},
}))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def state(project: Project) -> StackState:
    """All three servers, and an object to be looked for."""
    state = probes.up(project, options=OPTIONS)
    assert ask(state, "PUT", "shop/mine", body=SECRET).status == 200
    return state


def test_no_listener_tells_another_user_anything(project: Project, state: StackState) -> None:
    """Ports are everybody's: each wants a credential. Sockets and files are for their owner."""
    ports = sorted(all_listeners(state) | _others(state))
    sockets = _sockets(project, ports)
    seen = _look_as_nobody(ports, sockets)
    assert seen["uid"] == pwd.getpwnam("nobody").pw_uid
    assert len(seen["answers"]) == len(ports) * 4 * len(PATHS)
    for port, method, path, status, body in seen["answers"]:
        assert status is None or status >= 400, (port, method, path, status)
        assert SECRET.decode() not in body
    # It did get to them: S3 itself and the closed ones say so.
    assert {403, 401} & {answer[3] for answer in seen["answers"]}
    assert len(sockets) >= 5
    assert set(seen["doors"].values()) == {"PermissionError"}, seen["doors"]
    assert ask(state, "GET", "shop/mine").body == SECRET


def _others(state: StackState) -> set[int]:
    """PostgreSQL's and Valkey's ports."""
    services = [each for each in state.services if each.name != "seaweedfs"]
    assert len(services) == 2
    return {each.port for each in services}.union(*(listeners(each.pid) for each in services))


def _sockets(project: Project, ports: list[int]) -> list[str]:
    """What lies in /tmp of SeaweedFS, and the supervisor's own."""
    parts = ("master", "volume", "filer", "s3", "admin")
    found = [
        Path(SEAWEEDFS_SOCKET.format(part=part, port=port)) for part in parts for port in ports
    ]
    found += [path for path in project.state.rglob("*") if path.is_socket()]
    return [str(path) for path in found if path.is_socket()]


def _look_as_nobody(ports: list[int], sockets: list[str]) -> dict[str, Any]:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("the user nobody may execute no Python")
    nobody = pwd.getpwnam("nobody")
    told = json.dumps({"ports": ports, "paths": PATHS, "sockets": sockets})
    done = subprocess.run(
        [python, "-c", LOOK, told],
        cwd=tempfile.gettempdir(),
        env={},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
