"""A project of one's own, and `bedplate` as a person calls it: a process, its streams, its end."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parent / "sample"
SECONDS = 120.0
# What would lead the command to another server or state folder than the test's own.
FOREIGN = re.compile(r"^(BEDPLATE_.*|.*DATABASE_URL|REDIS_URL|AWS_.*|S3_.*|PG.*|CI|NO_COLOR)$")


class Bedplate:
    """`bedplate` in one project folder, with a state folder of its own."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.state = state
        own = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
        # Tests do not survive a power cut.
        self.environment = {
            **own,
            "BEDPLATE_STATE_DIR": str(state),
            "BEDPLATE_DURABLE": "0",
            # Started only for who asks: a second that most tests need not wait.
            "BEDPLATE_FILES": "0",
            "BEDPLATE_WORKER_CONCURRENCY": "1",
        }

    def call(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run one command line to its end."""
        return subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def json(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Run one command line with `-o json`; its one object."""
        answer: dict[str, Any] = json.loads(self.call("-o", "json", *arguments, **variables).stdout)
        return answer

    def start(self, *arguments: str, **variables: str) -> "Running":
        """Start a command line that stays."""
        return Running(
            subprocess.Popen(
                self._command(arguments),
                cwd=self.folder,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def processes(self) -> dict[str, int]:
        """What `status` shows: the pid of each service that is up."""
        services = self.json("status").get("data", {}).get("services", [])
        return {each["service"]: each["pid"] for each in services if each["pid"]}

    @staticmethod
    def _command(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "bedplate.cli.main", *arguments]


class Running:
    """A command that stays, read line by line as it speaks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """The first line that fits, on either stream. Fails when it does not come in time."""
        found: list[re.Match[str]] = []

        def has_come() -> bool:
            found.extend(match for line in self.said if (match := re.search(pattern, line)))
            return bool(found) or self.process.poll() is not None

        with self._changed:
            self._changed.wait_for(has_come, timeout=SECONDS)
        assert found, f"no line fits {pattern!r}:\n" + "\n".join(self.said)
        return found[0]

    def end(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=SECONDS)
        for reader in self._readers:
            reader.join(timeout=SECONDS)
        return status

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self.said.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@pytest.fixture(scope="module")
def bedplate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bedplate]:
    """In a folder that is no project: one plain database. Servers are left to the module."""
    yield from _in(tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bedplate]:
    """In a project with one small system."""
    folder = tmp_path_factory.mktemp("sample") / "project"
    shutil.copytree(SAMPLE, folder)
    yield from _in(folder, tmp_path_factory.mktemp("state"))


def _in(folder: Path, state: Path) -> Iterator[Bedplate]:
    found = Bedplate(folder, state)
    try:
        yield found
    finally:
        found.call("down")
