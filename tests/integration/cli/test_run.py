"""`bedplate run` whole, on a small project: up, migrated, seeded, watched, and gone without a rest.

One `run` serves most of it, for time's sake; what ends it comes last.
"""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from tests.integration.cli.conftest import SECONDS, Bedplate, Running

CHILDREN = {"api", "relay", "worker"}


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    """A port that another program holds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def running(sample: Bedplate, taken_port: int) -> Iterator[Running]:
    """`run`, told to take a port that is in use, once it is ready."""
    started = sample.start("run", "--port", str(taken_port))
    started.wait_for("^stop +Ctrl-C")
    yield started
    if started.process.poll() is None:
        started.end(signal.SIGKILL)


def _address(running: Running) -> str:
    return running.wait_for(r"^everything +(http://\S+)")[1]


def _get(address: str) -> tuple[int, object]:
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - our own http
        return answer.status, json.load(answer)


@pytest.mark.bad_day("`bedplate run` with its port in use", sees="another is taken, and said")
def test_a_port_in_use_is_said_and_another_taken(running: Running, taken_port: int) -> None:
    """The first obstacle of a second project on the machine."""
    assert running.wait_for(f"port {taken_port} is in use")
    assert not _address(running).endswith(f":{taken_port}")


def test_everything_answers(running: Running) -> None:
    """Health over all services, and the system under its name."""
    address = _address(running)
    assert _get(f"{address}/health")[0] == 200
    assert _get(f"{address}/sample/hello") == (200, {"hello": "sample"})


def test_every_step_is_one_line_and_the_block_can_be_copied(running: Running) -> None:
    """A person reads it once: services with their times, then at most 12 lines."""
    for name in ("postgres", "valkey", *CHILDREN):
        assert running.wait_for(rf"^✓ {name} .*s\) ")
    assert running.wait_for("^✓ .*bedplate:0001")
    assert running.wait_for("^✓ sample: skipped a row, as sample")
    first = next(at for at, line in enumerate(running.said) if line.startswith("everything"))
    last = next(at for at, line in enumerate(running.said) if line.startswith("stop "))
    assert last - first < 12


def test_status_shows_the_children_with_the_servers(running: Running, sample: Bedplate) -> None:
    """One look at all that this project runs."""
    assert set(sample.processes()) >= CHILDREN | {"postgres", "valkey"}


@pytest.mark.bad_day("A second `bedplate run`", sees="refused, naming the first")
def test_a_second_run_is_refused(running: Running, sample: Bedplate) -> None:
    """Two on one folder would mix logs and addresses."""
    done = sample.call("run")
    assert done.returncode == 1
    assert "runs already" in done.stderr


def test_a_killed_worker_is_replaced_and_said(running: Running, sample: Bedplate) -> None:
    """A crash costs seconds, and a person learns of it with pid and signal."""
    pid = sample.processes()["worker"]
    pool = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    running.wait_for(rf"worker \(pid {pid}\) was killed by SIGKILL")
    after = int(running.wait_for(r"worker runs again, pid (\d+)")[1])
    assert after != pid
    assert sample.processes()["worker"] == after
    _gone, alive = psutil.wait_procs(pool, timeout=SECONDS)
    assert alive == []


def test_a_killed_api_answers_again_at_the_same_address(running: Running, sample: Bedplate) -> None:
    """Requests that come meanwhile wait in the socket, which `run` holds."""
    os.kill(sample.processes()["api"], signal.SIGKILL)
    assert _get(f"{_address(running)}/health/live")[0] == 200
    running.wait_for("api runs again")


def test_a_killed_run_leaves_nothing_behind(running: Running, sample: Bedplate) -> None:
    """kill -9 is what a closing laptop, an editor or an out-of-memory killer does."""
    everything = [
        one
        for pid in sample.processes().values()
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    ]
    assert len(everything) > 5
    running.end(signal.SIGKILL)
    _gone, alive = psutil.wait_procs(everything, timeout=SECONDS)
    assert alive == []
    assert sample.call("status").returncode == 3


def test_ctrl_c_ends_everything_in_order(sample: Bedplate) -> None:
    """The second start finds the head and the port; the end takes seconds and leaves nothing."""
    again = sample.start("run", "--port", "0")
    again.wait_for("^stop +Ctrl-C")
    assert any("already at head" in line for line in again.said)
    everything = [psutil.Process(pid) for pid in sample.processes().values()]
    assert again.end(signal.SIGINT) == 130
    assert any(line.startswith("stopped api, relay, worker") for line in again.said)
    _gone, alive = psutil.wait_procs(everything, timeout=SECONDS)
    assert alive == []
