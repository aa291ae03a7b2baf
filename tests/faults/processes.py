"""Real processes that a test may kill: each in a group of its own, all gone at the end.

    api = processes.start("api", failpoints="tx.before_commit=exit")
    await api.until_says("serving on")
    worker.kill() · worker.stop() · worker.go_on() · worker.terminate() · await worker.until_ended()

All of what they say is looked through for secrets at the end.

`start(what)` runs `python -m tests.faults.sample_system <what>`: "api" (uvicorn), "relay",
"worker"; `run(code)` runs a program of the test's own. A process's output is shown when its test
fails.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from bedplate.failpoints import VARIABLE
from tests.texts import ROOT

# A bound for failure only; nothing waits this long when all is well.
PATIENCE = timedelta(seconds=60)
POLL_SECONDS = 0.01
SAMPLE = "tests.faults.sample_system"
SHOWN_LINES = 40
SECRETS = ("BEDPLATE_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")
# A shorter one may be a word of any log.
SHORTEST_SECRET = 8


class Child:
    """A process and its group. Signals go to the whole group unless said otherwise."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs, stopped or not."""
        return self.process.poll() is None

    def children(self) -> list[int]:
        """The pids of its children: a worker's pool."""
        return [each.pid for each in psutil.Process(self.pid).children()]

    def output(self) -> str:
        """All it has said so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: it holds all it has, and does nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM to the process alone, as a supervisor does."""
        self.process.terminate()

    async def until_says(self, pattern: str, *, patience: timedelta = PATIENCE) -> "re.Match[str]":
        """Wait for a line that matches; fails when the process ends or time is over first."""
        deadline = time.monotonic() + patience.total_seconds()
        while time.monotonic() < deadline:
            is_ended = not self.is_alive
            found = re.search(pattern, self.output())
            if found:
                return found
            if is_ended:
                break
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError(f"{self.name} never said {pattern!r}; {self.describe()}")

    async def until_ended(self, *, patience: timedelta = PATIENCE) -> int:
        """Wait for its end; its exit status."""
        deadline = time.monotonic() + patience.total_seconds()
        while time.monotonic() < deadline:
            status = self.process.poll()
            if status is not None:
                return status
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError(f"{self.name} does not end; {self.describe()}")

    def describe(self) -> str:
        """Its state and last lines."""
        state = "runs" if self.is_alive else f"ended with {self.process.returncode}"
        tail = "\n".join(self.output().splitlines()[-SHOWN_LINES:])
        return f"{self.name} ({self.pid}) {state}\n{tail}"

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Processes:
    """Starts processes with one environment; `close` ends them all."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = dict(variables)
        self.started: list[Child] = []

    def start(self, what: str, *arguments: str, failpoints: str = "", **more: str) -> Child:
        """One of the sample system's processes; `more` are further variables."""
        command = [sys.executable, "-m", SAMPLE, what, *arguments]
        return self._start(what, command, failpoints, more)

    def run(self, code: str, *arguments: str, failpoints: str = "", **more: str) -> Child:
        """A program of the test's own."""
        return self._start("program", [sys.executable, "-c", code, *arguments], failpoints, more)

    def close(self) -> None:
        """Kill what still runs, show what all of them said, and fail if a secret is in it (I15)."""
        for child in self.started:
            child.kill()
        for child in self.started:
            print(f"--- {child.describe()}")  # noqa: T201 - pytest shows it when a test fails
        said = "\n".join(child.output() for child in self.started)
        told = [name for name, secret in _secrets(self._variables) if secret in said]
        assert told == [], "secrets were logged"

    def _start(
        self, name: str, command: list[str], failpoints: str, more: Mapping[str, str]
    ) -> Child:
        variables = {**os.environ, **self._variables, **more, "PYTHONUNBUFFERED": "1"}
        variables.pop(VARIABLE, None)
        if failpoints:
            variables[VARIABLE] = failpoints
        log = self._folder / f"{len(self.started)}-{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own: a killed worker's pool must not outlive it, nor the test.
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.started.append(child)
        return child


def _secrets(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in variables.items():
        secret = value if name in SECRETS else unquote(urlsplit(value).password or "")
        if len(secret) >= SHORTEST_SECRET:
            yield name, secret
