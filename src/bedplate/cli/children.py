"""The processes that `bedplate run` keeps alive: the API, the relay and the worker.

Each is the leader of a process group of its own, writes to its own log, and ends when `run` does
(`lifeline.py`). One that dies is replaced, with backoff, and that is said. Called by `run`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bedplate.cli import lifeline
from bedplate.cli.log_tail import follow, last_lines
from bedplate.cli.output import Output
from bedplate.errors import ServerError
from bedplate.servers.folder import StateFolder

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
# A child that lived this long had started well: the next pause is the first one again.
SETTLED = timedelta(seconds=30)
# A child that dies this often before it was ever ready will not be ready the next time either.
MOST_FAILED_STARTS = 3
LINES_OF_A_DEATH = 8


@dataclass(frozen=True)
class ChildSpec:
    """What to start: a hidden or public command of ours, and the descriptors that it inherits."""

    name: str
    arguments: tuple[str, ...]
    descriptors: tuple[int, ...] = ()


class Child:
    """One process kept alive. `keep` runs for as long as the child is wanted."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        environment: Mapping[str, str],
        folder: Path,
        state: StateFolder,
        output: Output,
        on_change: Callable[[], None],
    ) -> None:
        self.name = spec.name
        self.log = state.log(spec.name)
        self.pid: int | None = None
        self.ready = asyncio.Event()
        self.ready_after = timedelta(0)
        self._spec = spec
        self._environment = environment
        self._folder = folder
        self._state = state
        self._output = output
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._is_ending = asyncio.Event()
        self._failed_starts = 0

    async def keep(self) -> None:
        """Start the child, and again whenever it dies, until `end`.

        Raises `ServerError` when it dies again and again before it was ready once.
        """
        following = asyncio.create_task(self._follow())
        pause = FIRST_PAUSE_SECONDS
        try:
            while not self._is_ending.is_set():
                started = time.monotonic()
                process = await self._start()
                status = await self._live(process, started)
                if self._is_ending.is_set():
                    return
                if time.monotonic() - started > SETTLED.total_seconds():
                    pause = FIRST_PAUSE_SECONDS
                self._say_death(process.pid, status, pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_ending.wait(), pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def end(self, grace: timedelta) -> bool:
        """Ask it to end, then kill its group; whether it ended by itself."""
        self._is_ending.set()
        process = self._process
        if process is None or process.returncode is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace.total_seconds())
        except TimeoutError:
            _kill_group(process)
            await process.wait()
            return False
        return True

    def kill(self) -> None:
        """End it at once, with all that it forked."""
        if self._process is not None and self._process.returncode is None:
            _kill_group(self._process)

    async def _start(self) -> asyncio.subprocess.Process:
        kept, given = lifeline.make_pair()
        log = self._state.open_log(self.name)
        with given, os.fdopen(log, "ab"):
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bedplate.cli.main", *self._spec.arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={
                    **self._environment,
                    lifeline.VARIABLE: str(given.fileno()),
                    "PYTHONUNBUFFERED": "1",
                },
                pass_fds=(given.fileno(), *self._spec.descriptors),
                process_group=0,
            )
        self.pid = self._process.pid
        self._on_change()
        self._line = kept
        return self._process

    async def _live(self, process: asyncio.subprocess.Process, started: float) -> int:
        hearing = asyncio.create_task(self._hear(self._line, started))
        try:
            return await process.wait()
        finally:
            hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await hearing
            self._line.close()
            self.pid = None
            self._on_change()
            # What it forked must not outlive it: a pool process would go on with its job.
            _kill_group(process)

    async def _hear(self, line: socket.socket, started: float) -> None:
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            if not await loop.sock_recv(line, len(lifeline.READY)):
                return
            is_first = not self.ready.is_set()
            self.ready_after = timedelta(seconds=time.monotonic() - started)
            self.ready.set()
            if not is_first:
                self._output.done(f"{self.name} runs again, pid {self.pid}", self.ready_after)

    def _say_death(self, pid: int, status: int, pause: float) -> None:
        ended = describe_end(status)
        self._output.failed(f"{self.name} (pid {pid}) {ended}; starting it again in {pause:g} s")
        if self.ready.is_set():
            return
        self._failed_starts += 1
        for line in last_lines(self.log, LINES_OF_A_DEATH):
            self._output.note(f"  {self.name} │ {line}")
        if self._failed_starts >= MOST_FAILED_STARTS:
            raise ServerError(
                f"{self.name} {ended} {self._failed_starts} times before it was ready",
                hint=f"bedplate logs {self.name}",
            )

    async def _follow(self) -> None:
        def say(line: str) -> None:
            self._output.note(f"  {self.name} │ {line}")

        await follow(self.log, say, shows_all=self._output.is_verbose)


def describe_end(status: int) -> str:
    """How a process ended, by its return code: "exited with status 1", "was killed by SIGKILL"."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


async def wait_until_ready(
    children: Sequence[Child], keepers: Sequence[asyncio.Task[None]]
) -> None:
    """Return once every child is ready; raise what a keeper raised."""
    waiting = [asyncio.create_task(_wait_for(child)) for child in children]
    try:
        for one in waiting:
            done, _ = await asyncio.wait({one, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for one in waiting:
            one.cancel()


async def _wait_for(child: Child) -> None:
    await child.ready.wait()


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
