"""PgBouncer before the tests' server: a process of theirs, whatever ends them."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from bedplate.errors import SettingsError
from bedplate.project import Project
from bedplate.testing.stack import open_servers
from tests.stands import require_pgbouncer
from tests.texts import ROOT

if TYPE_CHECKING:
    from bedplate.testing.stack import Servers

HOLD = """
import sys
from bedplate.testing.pooler import open_pooler
from bedplate.urls import DatabaseUrl

with open_pooler(DatabaseUrl("127.0.0.1", 1, "somebody", "somebodys"), []):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_leaves_no_pooler(tmp_path: Path) -> None:
    """Nor the folder with the passwords that it logs in with."""
    require_pgbouncer()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        processes = psutil.Process(holder.pid).children(recursive=True)
        (pooler,) = [each for each in processes if each.name() == "pgbouncer"]
        folder = Path(pooler.cmdline()[-1]).parent
        assert folder.is_dir()
        holder.kill()
    _gone, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
    assert not folder.exists()


def test_a_misspelt_stand_is_refused(project: Project, stack: "Servers") -> None:
    """Tests that were to run behind a pooler and did not would prove nothing."""
    with (
        pytest.raises(SettingsError, match="TEST_STAND is 'pgbuoncer'"),
        open_servers(project, stack.folder, {"TEST_STAND": "pgbuoncer"}),
    ):
        pass
