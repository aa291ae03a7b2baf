"""What commands and tests call: attach to a project's stack, ask about it, stop it.

    with attach(project, StackOptions()) as stack:
        stack.state.databases["shop"]

A foreground client keeps its connection open; the kernel closes it when the client dies, however
it dies. The last one to leave stops the stack, unless somebody detached. Nothing of a driver or a
server is imported here.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from types import TracebackType
from typing import Self

from bedplate.errors import ServerError, WaitTimeoutError
from bedplate.project import Project
from bedplate.servers.control import decode_error
from bedplate.servers.folder import StateFolder, explained
from bedplate.servers.launch import POLL_SECONDS, Link, ask, link_to, request_or_start
from bedplate.servers.logs import last_lines
from bedplate.servers.orphans import stop_orphans
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState, Step

OnStep = Callable[[Step], None]
DEFAULT_TIMEOUT = timedelta(seconds=60)
# The supervisor has the same deadline and knows more to say: it may tell its error first.
GRACE_SECONDS = 5.0


class RunningStack:
    """A stack that runs, and our place among its clients. `close` leaves it."""

    def __init__(self, state: StackState, link: Link | None, steps: tuple[Step, ...]) -> None:
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
        link, is_started = request_or_start(folder, request, deadline)
        try:
            attached = _await_state(link, on_step, deadline, folder)
        except BaseException:
            link.close()
            raise
        if attached is not None:
            break
        link.close()
        if is_started:
            raise _supervisor_ended(folder)
        # It was about to end when we came: wait for its end, then start another.
    state, steps = attached
    if detach:
        link.close()
    return RunningStack(state, None if detach else link, steps)


def read_state(project: Project) -> StackState | None:
    """The stack that runs and is ready; None when there is none. Never starts anything."""
    answer = ask(StateFolder(project.state), {"command": "status"})
    found = answer.get("state") if answer else None
    return StackState.from_json(found) if found else None


def detach(project: Project) -> bool:
    """Let the running stack go on when its clients leave. False when none runs."""
    return ask(StateFolder(project.state), {"command": "detach"}) is not None


def stop(project: Project, timeout: timedelta = DEFAULT_TIMEOUT) -> list[Step]:
    """Stop the project's stack, whoever uses it, and what a killed supervisor left behind.

    Returns a step for each server that was stopped; none when nothing ran. Raises
    `WaitTimeoutError` when it did not end in time.
    """
    folder = StateFolder(project.state)
    if not folder.path.is_dir():
        return []
    deadline = time.monotonic() + timeout.total_seconds()
    steps: list[Step] = []
    with contextlib.suppress(ConnectionError, FileNotFoundError), link_to(folder) as link:
        link.send({"command": "stop"})
        try:
            steps += [Step(**m["step"]) for m in link.messages(deadline) if "step" in m]
        except TimeoutError:
            raise _stop_timeout(folder) from None
    with explained(folder.path):
        lock = _wait_for_lock(folder, deadline)
        try:
            steps += stop_orphans(folder)
            run = folder.find_run()
            if run is not None:
                folder.remove_run(run)
        finally:
            os.close(lock)
    return steps


def _await_state(
    link: Link, on_step: OnStep | None, deadline: float, folder: StateFolder
) -> tuple[StackState, tuple[Step, ...]] | None:
    steps = []
    try:
        for message in link.messages(deadline + GRACE_SECONDS):
            if "step" in message:
                steps.append(Step(**message["step"]))
                if on_step is not None:
                    on_step(steps[-1])
            elif "error" in message:
                raise decode_error(message["error"])
            elif message.get("state"):
                return StackState.from_json(message["state"]), tuple(steps)
    except WaitTimeoutError:
        # The supervisor's own, which names the server.
        raise
    except TimeoutError:
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


def _supervisor_ended(folder: StateFolder) -> ServerError:
    lines = last_lines(folder.log("supervisor"))
    return ServerError(
        "the supervisor ended while it started" + "".join(f"\n  {line}" for line in lines),
        hint=f"Read {folder.log('supervisor')}",
    )


def _stop_timeout(folder: StateFolder) -> WaitTimeoutError:
    return WaitTimeoutError(
        "the stack did not stop in time", hint=f"Read {folder.log('supervisor')}"
    )


def _ends_of_logs(folder: StateFolder) -> str:
    parts = []
    for name in ("postgres", "valkey", "seaweedfs"):
        lines = last_lines(folder.log(name), count=4)
        parts += [f"\n  {name}: {line}" for line in lines]
    return "".join(parts)
