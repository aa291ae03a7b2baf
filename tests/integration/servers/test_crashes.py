"""Deaths by kill -9 of each process, and what a pid file left behind may not lead to."""

import shutil
import signal
import subprocess
import sys
import threading

import pytest

from bedplate.errors import ServerError
from bedplate.project import Project
from bedplate.servers.client import RunningStack, attach, detach, read_state, stop
from bedplate.servers.stack import StackOptions
from tests.integration.servers import probes
from tests.integration.servers.conftest import MakeProject


@pytest.mark.fault(25, holds="I2")
@pytest.mark.parametrize("name", ["postgres", "valkey"])
async def test_fault_25_a_killed_server_is_restarted_with_its_data(
    project: Project, name: str
) -> None:
    """The supervisor is there for this; the port stays, so that clients reconnect."""
    state = probes.up(project)
    await probes.write_mark(state, name)
    former = state.service(name)
    probes.kill(former.pid)
    again = probes.restarted(project, name, former.pid)
    assert again.service(name).port == former.port
    rows, key = await probes.read_marks(again)
    assert rows[-1] == name
    assert key == name.encode()


@pytest.mark.fault(52, holds="I2", every_run=True)
async def test_fault_52_the_next_attach_takes_over_from_a_killed_supervisor(
    project: Project,
) -> None:
    """Its servers run on without a parent: they are ended cleanly and started again, data kept."""
    state = probes.up(project)
    await probes.write_mark(state, "taken-over")
    probes.kill(state.supervisor_pid)
    assert read_state(project) is None
    orphans = [service.pid for service in state.services]
    assert all(probes.is_running(pid) for pid in orphans)
    again = attach(project, StackOptions(), detach=True)
    assert {"stop orphaned postgres", "stop orphaned valkey"} <= {s.name for s in again.steps}
    assert not any(probes.is_running(pid) for pid in orphans)
    rows, key = await probes.read_marks(again.state)
    assert rows[-1] == "taken-over"
    assert key == b"taken-over"


@pytest.mark.fault(25, holds="I2", every_run=True)
async def test_fault_25_all_killed_at_once_loses_nothing(project: Project) -> None:
    """A machine that is out of memory may take all three."""
    state = probes.up(project)
    await probes.write_mark(state, "all-killed")
    for pid in probes.pids_of(state):
        probes.kill(pid)
    rows, key = await probes.read_marks(probes.up(project))
    assert rows[-1] == "all-killed"
    assert key == b"all-killed"


def test_stop_ends_what_a_killed_supervisor_left(project: Project) -> None:
    """`down` must leave nothing running, whatever happened before."""
    state = probes.up(project)
    probes.kill(state.supervisor_pid)
    assert all(step.ok for step in stop(project))
    assert not any(probes.is_running(pid) for pid in probes.pids_of(state))


@pytest.mark.fault(51, holds="I2", every_run=True)
def test_fault_51_a_reused_pid_is_never_killed(project: Project) -> None:
    """The system gives a dead server's number to somebody's editor: it must live, and we start."""
    probes.up(project)
    stop(project)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        data = project.state / "postgres"
        (data / "postmaster.pid").write_text(f"{foreign.pid}\n{data}\n1700000000\n5432\n\n\n")
        (project.state / "valkey.pid").write_text(f"{foreign.pid}\n")
        state = probes.up(project)
        assert all(service.is_up for service in state.services)
        stop(project)
        assert foreign.poll() is None
        foreign.communicate(b"\n")
        assert foreign.returncode == 0


def test_a_server_of_another_folder_is_never_killed(
    project: Project, make_project: MakeProject
) -> None:
    """A pid file may name a real server that is somebody else's."""
    probes.up(project)
    stop(project)
    theirs = probes.up(make_project(is_prepared=True))
    for name, path in (("postgres", "postgres/postmaster.pid"), ("valkey", "valkey.pid")):
        (project.state / path).write_text(f"{theirs.service(name).pid}\n")
    probes.up(project)
    assert all(probes.is_running(pid) for pid in probes.pids_of(theirs))


@pytest.mark.fault(52, holds="I2", every_run=True)
def test_fault_52_a_killed_client_takes_the_stack_with_it(project: Project) -> None:
    """An editor kills its terminals with -9; no server may be left behind."""
    client = probes.open_foreground(project)
    state = read_state(project)
    assert state is not None
    client.kill()
    client.communicate()
    probes.wait_for(lambda: not any(probes.is_running(pid) for pid in probes.pids_of(state)))


def test_the_stack_lives_until_the_last_client_leaves(project: Project) -> None:
    """Two terminals use one stack; closing the first must not pull it from under the second."""
    first = attach(project, StackOptions())
    second = attach(project, StackOptions())
    assert second.state == first.state
    first.close()
    assert read_state(project) is not None
    second.close()
    probes.wait_for(lambda: read_state(project) is None)


def test_a_detached_stack_outlives_its_clients(project: Project) -> None:
    """`up -d` beside a foreground `up` means that it stays."""
    with attach(project, StackOptions()):
        assert detach(project)
    state = read_state(project)
    assert state is not None
    assert state.is_detached
    stop(project)
    assert not detach(project)


@pytest.mark.fault(51, holds="I2", every_run=True)
def test_fault_51_of_two_attaches_at_once_both_get_the_same_stack(project: Project) -> None:
    """`make run` in two terminals: one starts it, the other joins it."""
    found: list[RunningStack] = []
    barrier = threading.Barrier(4)

    def join() -> None:
        barrier.wait()
        found.append(attach(project, StackOptions()))

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(stack.state == found[0].state for stack in found)
    assert len(found) == 4
    for stack in found:
        stack.close()


def test_a_client_is_told_of_a_restart_and_of_the_end(project: Project) -> None:
    """The terminal that shows the stack must show what happens to it."""
    with attach(project, StackOptions()) as stack:
        said: list[str] = []
        watcher = threading.Thread(target=lambda: stack.wait(lambda s: said.append(s.detail)))
        watcher.start()
        former = stack.state.service("valkey").pid
        probes.kill(former)
        probes.restarted(project, "valkey", former)
        stop(project)
        watcher.join()
    assert f"Valkey was ended by {signal.SIGKILL.name}" in said
    assert any(line.startswith("Valkey 9") for line in said)


def test_a_removed_folder_ends_the_stack(make_project: MakeProject) -> None:
    """`rm -rf .bedplate` of a running stack must not leave servers that nobody can find."""
    project = make_project(is_prepared=True)
    state = probes.up(project)
    shutil.rmtree(project.state, ignore_errors=True)
    probes.wait_for(lambda: not any(probes.is_running(pid) for pid in probes.pids_of(state)))


def test_a_stop_during_the_first_start_leaves_nothing(make_project: MakeProject) -> None:
    """Ctrl-C in the middle of initdb."""
    project = make_project()
    errors: list[ServerError] = []

    def start() -> None:
        try:
            probes.up(project)
        except ServerError as error:
            errors.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    probes.wait_for(lambda: list(project.state.glob("postgres-unfinished-*/base")))
    stop(project)
    starter.join()
    assert "ended while it started" in str(errors[0])
    assert probes.processes_in(project.root) == []
    state = probes.up(project)
    assert state.service("postgres").is_up
