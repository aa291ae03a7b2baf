"""Whatever ends a run, its servers end too."""

import subprocess
import sys
from pathlib import Path

import psutil

from bedplate.testing.folder import PREFIX
from tests.texts import ROOT

RUN = """
import sys
from pathlib import Path
from bedplate.project import Project
from bedplate.testing.stack import open_servers

with open_servers(Project.find({}, Path.cwd()), Path(sys.argv[1]), {}) as servers:
    pids = [servers.state.supervisor_pid, *(each.pid for each in servers.state.services)]
    print(*pids, flush=True)
    sys.stdin.read()
"""


def test_killed_run_leaves_no_server(tmp_path: Path) -> None:
    """A person presses Ctrl-C twice, a CI job is cancelled: nothing may be left running."""
    folder = tmp_path / f"{PREFIX}killed"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
        assert len(servers) == 3
        run.kill()
    _gone, alive = psutil.wait_procs(servers, timeout=20)
    assert alive == []
