"""Who a pid is: what keeps a reused one alive."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bedplate.servers import process

SECOND = timedelta(seconds=10)
Child = subprocess.Popen[bytes]


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A process that waits, in a folder of its own."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as found:
        assert found.stdout is not None
        found.stdout.readline()
        yield found
        found.kill()


def test_a_process_is_itself(child: Child) -> None:
    """The identity of one and the same process does not change."""
    identity = process.identify(child.pid)
    assert identity is not None
    assert process.is_same(identity)
    assert Path(identity.executable).samefile(os.path.realpath(sys.executable))


@pytest.mark.parametrize("field", ["started", "executable"])
def test_a_reused_pid_is_not_stopped(child: Child, field: str) -> None:
    """Another start time or executable means another process, which must live."""
    identity = process.identify(child.pid)
    assert identity is not None
    change: dict[str, Any] = {field: "another"}
    stale = replace(identity, **change)
    assert process.stop_verified(stale, [(signal.SIGKILL, SECOND)])
    assert child.poll() is None


def test_a_verified_process_is_stopped_by_the_next_signal(child: Child) -> None:
    """One that ignores the first signal gets the second."""
    identity = process.identify(child.pid)
    assert identity is not None
    signals = [(signal.SIGWINCH, timedelta(0)), (signal.SIGKILL, SECOND)]
    assert process.stop_verified(identity, signals)
    assert child.wait() == -signal.SIGKILL


def test_an_ended_child_that_nobody_waited_for_is_gone(child: Child) -> None:
    """A zombie has a pid and a start time, and runs no more."""
    child.kill()
    assert process.wait_until(lambda: process.identify(child.pid) is None, SECOND)


def test_processes_are_found_by_folder_and_executable(child: Child, tmp_path: Path) -> None:
    """Both must fit: a shell in the data folder is no server."""
    name = Path(os.path.realpath(sys.executable)).name
    assert [found.pid for found in process.find_in_folder(tmp_path, [name])] == [child.pid]
    assert process.find_in_folder(tmp_path, ["postgres"]) == []
    assert process.find_in_folder(tmp_path / "other", [name]) == []


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (250, "signal 250")])
def test_signals_have_names(number: int, name: str) -> None:
    """People know them by name."""
    assert process.signal_name(number) == name
