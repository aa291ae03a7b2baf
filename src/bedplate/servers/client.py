"""What commands and tests call: attach to a project's stack, ask about it, stop it.

    with attach(project, StackOptions()) as stack:
        stack.state.databases["shop"]

A foreground client keeps its connection open; the kernel closes it when the client dies, however
it dies. The last one to leave stops the stack, unless somebody detached. Nothing of a driver or a
server is imported here.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from bedplate.errors import ServerError, WaitTimeoutError
from bedplate.project import Project
from bedplate.servers.control import Lines, Message, connect, decode_error, encode
from bedplate.servers.folder import StateFolder, explained
from bedplate.servers.logs import last_lines
from bedplate.servers.orphans import stop_orphans
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState, Step

OnStep = Callable[[Step], None]
DEFAULT_TIMEOUT = timedelta(seconds=60)
ANSWER_TIMEOUT = timedelta(seconds=5)
# Between two looks at a supervisor that is just starting or just ending.
POLL_SECONDS = 0.01


class RunningStack:
    """A stack that runs, and our place among its clients. `close` leaves it."""

    def __init__(self, state: StackState, link: "_Link | None", steps: tuple[Step, ...]) -> None:
        self.state = state
        self.steps = steps
        self._link = link

    def close(self) -> None:
        """Leave. The last foreground client to leave stops the stack, unless it is detached."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def wait(self, on_step: OnStep | None = None, timeout: timedelta | None = None) -> bool:
        """Block until the stack has ended, telling restarts. False when the time is over first."""
        if self._link is None:
            return False
        deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
        try:
            for message in self._link.messages(deadline):
                if "step" in message and on_step is not None:
                    on_step(Step(**message["step"]))
        except TimeoutError:
            return False
        return True

    def fileno(self) -> int:
        """For a selector: readable when there is something for `wait`. Raises `ValueError`."""
        if self._link is None:
            raise ValueError("a detached stack has no connection")
        return self._link.fileno()


def attach(
    project: Project,
    options: StackOptions,
    *,
    detach: bool = False,
    on_step: OnStep | None = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> RunningStack:
    """Start the project's stack, or join the one that runs.

    With `detach` it goes on without us. Raises `PortTakenError` (pinned), `ServerError` with the
    last log lines of what did not start, and `WaitTimeoutError`.
    """
    folder = StateFolder(project.state)
    folder.create()
    deadline = time.monotonic() + timeout.total_seconds()
    request = {
        "command": "attach",
        "detach": detach,
        "options": options.to_json(),
        "systems": [asdict(entry) for entry in project.systems],
        "timeout": timeout.total_seconds(),
    }
    while True:
        link = _connect_or_start(folder, request, deadline)
        attached = _await_state(link, on_step, deadline, folder)
        if attached is not None:
            state, steps = attached
            break
        # It was about to end when we came: wait for its end, then start another.
        link.close()
    if detach:
        link.close()
    return RunningStack(state, None if detach else link, steps)


def read_state(project: Project) -> StackState | None:
    """The stack that runs and is ready; None when there is none. Never starts anything."""
    answer = _ask(StateFolder(project.state), {"command": "status"})
    found = answer.get("state") if answer else None
    return StackState.from_json(found) if found else None


def detach(project: Project) -> bool:
    """Let the running stack go on when its clients leave. False when none runs."""
    return _ask(StateFolder(project.state), {"command": "detach"}) is not None


def stop(project: Project, timeout: timedelta = DEFAULT_TIMEOUT) -> list[Step]:
    """Stop the project's stack, whoever uses it, and what a killed supervisor left behind.

    Returns a step for each server that was stopped; none when nothing ran. Raises
    `WaitTimeoutError` when it did not end in time.
    """
    folder = StateFolder(project.state)
    if not folder.path.is_dir():
        return []
    deadline = time.monotonic() + timeout.total_seconds()
    steps = []
    with contextlib.suppress(ConnectionError, FileNotFoundError), _link_to(folder) as link:
        link.send({"command": "stop"})
        try:
            for message in link.messages(deadline):
                if "step" in message:
                    steps.append(Step(**message["step"]))
        except TimeoutError:
            raise _stop_timeout(folder) from None
    with explained(folder.path):
        lock = _wait_for_lock(folder, deadline)
        try:
            return steps + stop_orphans(folder)
        finally:
            os.close(lock)


class _Link:
    """A connection to the supervisor, as messages."""

    def __init__(self, link: socket.socket) -> None:
        self._socket = link
        self._lines = Lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> None:
        self._socket.sendall(encode(message))

    def messages(self, deadline: float | None) -> Iterator[Message]:
        """Until the supervisor closes. Raises `TimeoutError`."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            try:
                received = self._socket.recv(65536)
            except ConnectionResetError:
                return
            if not received:
                return
            yield from self._lines.feed(received)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def _link_to(folder: StateFolder) -> _Link:
    path = folder.control_socket()
    if path is None:
        raise FileNotFoundError
    return _Link(connect(path, ANSWER_TIMEOUT.total_seconds()))


def _ask(folder: StateFolder, request: Message) -> Message | None:
    try:
        with _link_to(folder) as link:
            link.send(request)
            deadline = time.monotonic() + ANSWER_TIMEOUT.total_seconds()
            return next(link.messages(deadline), None)
    except (OSError, ValueError):
        return None


def _connect_or_start(folder: StateFolder, request: Message, deadline: float) -> _Link:
    while True:
        try:
            link = _link_to(folder)
            link.send(request)
            return link
        except (ConnectionError, FileNotFoundError):
            pass
        with explained(folder.path):
            lock = folder.try_lock()
            if lock is not None:
                _start_supervisor(folder, lock, request, deadline)
                continue
        # Another client has just started a supervisor that does not listen yet, or one is ending.
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(
                f"another process holds {folder.lock_file} and does not answer",
                hint=f"Read {folder.log('supervisor')}",
            )
        time.sleep(POLL_SECONDS)


def _start_supervisor(folder: StateFolder, lock: int, request: Message, deadline: float) -> None:
    """Hand it our lock: whoever holds it may start one, so there is never a second."""
    log = folder.open_log("supervisor")
    log_start = os.fstat(log).st_size
    reader, writer = os.pipe()
    command = [sys.executable, "-P", "-m", "bedplate.servers.supervisor"]
    try:
        child = subprocess.Popen(
            [*command, str(folder.path), str(lock), str(writer)],
            cwd=folder.path,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock, writer),
            start_new_session=True,
        )
    finally:
        for descriptor in (lock, writer, log):
            os.close(descriptor)
    # It outlives us and is not ours to wait for; without this Popen warns when it is collected.
    child.returncode = 0
    with contextlib.suppress(BrokenPipeError), child.stdin or contextlib.nullcontext() as stdin:
        stdin.write(json.dumps(request).encode() + b"\n")
    try:
        is_listening = os.read(reader, 1) == b"1"
    finally:
        os.close(reader)
    if not is_listening:
        lines = last_lines(folder.log("supervisor"), since=log_start)
        raise ServerError(
            "the supervisor did not start" + "".join(f"\n  {line}" for line in lines),
            hint=f"Read {folder.log('supervisor')}",
        )


def _await_state(
    link: _Link, on_step: OnStep | None, deadline: float, folder: StateFolder
) -> tuple[StackState, tuple[Step, ...]] | None:
    steps = []
    try:
        for message in link.messages(deadline):
            if "step" in message:
                steps.append(Step(**message["step"]))
                if on_step is not None:
                    on_step(steps[-1])
            elif "error" in message:
                link.close()
                raise decode_error(message["error"])
            elif message.get("state"):
                return StackState.from_json(message["state"]), tuple(steps)
    except TimeoutError:
        link.close()
        raise WaitTimeoutError(
            "the embedded servers were not ready in time" + _ends_of_logs(folder),
            hint="Give them more --timeout, or read the logs.",
        ) from None
    return None


def _wait_for_lock(folder: StateFolder, deadline: float) -> int:
    while True:
        lock = folder.try_lock()
        if lock is not None:
            return lock
        if time.monotonic() >= deadline:
            raise _stop_timeout(folder)
        time.sleep(POLL_SECONDS)


def _stop_timeout(folder: StateFolder) -> WaitTimeoutError:
    return WaitTimeoutError(
        "the stack did not stop in time", hint=f"Read {folder.log('supervisor')}"
    )


def _ends_of_logs(folder: StateFolder) -> str:
    parts = []
    for name in ("postgres", "valkey"):
        lines = last_lines(Path(folder.log(name)), count=4)
        parts += [f"\n  {name}: {line}" for line in lines]
    return "".join(parts)
