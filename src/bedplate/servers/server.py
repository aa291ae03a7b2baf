"""One embedded server as a child process: spawned into its log, awaited, checked, stopped.

They differ in what they are started with, how they are asked whether they are ready and which
signals end them; the rest is here. Called by the supervisor's stack only.
"""

import contextlib
import os
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from bedplate.errors import PortTakenError, ServerError, WaitTimeoutError
from bedplate.servers import process
from bedplate.servers.folder import StateFolder, explained
from bedplate.servers.keys import Port, Ports
from bedplate.servers.logs import last_lines
from bedplate.servers.state import ServiceState

POLL_SECONDS = 0.003
# Between our look at a port and the server's own bind another program may take it.
PORT_TRIES = 3
PORT_TAKEN_MARKS = ("Address already in use", "address already in use", "Port allocation failed")
# What would change a server: defaults of its clients, a locale, another's S3 and its keys.
FOREIGN_VARIABLES = ("PG", "LC_", "LANG", "WEED_", "AWS_", "S3_")


class Server(ABC):
    """A server of the stack. The constructor opens nothing; `start` and `stop` do."""

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signals: ClassVar[Sequence[tuple[int, timedelta]]]

    def __init__(self, folder: StateFolder, ports: Ports) -> None:
        self.folder = folder
        self.port = Port(0)
        self.version = ""
        self.ready_ms = 0
        self.is_up = False
        self._ports = ports
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        # Nothing is launched any more once a stop has begun.
        self._launching = threading.Lock()
        self._is_stopping = False

    def start(self, deadline: float) -> None:
        """Start and wait for the first answer. Raises `ServerError`, `WaitTimeoutError`."""
        began = time.monotonic()
        with explained(self.folder.path):
            self.prepare()
            for remaining in reversed(range(PORT_TRIES)):
                self.port = self._ports.choose(self.name)
                self.launch(self.command(), self.data_folder())
                try:
                    self._wait_ready(deadline)
                    break
                except PortTakenError:
                    if self._ports.is_pinned(self.name) or not remaining:
                        raise
        self._require_loopback()
        self.ready_ms = round((time.monotonic() - began) * 1000)
        self.is_up = True

    def stop(self) -> bool:
        """End the server for good and wait for it. Returns whether it is gone.

        From any thread: a start that is under way ends too.
        """
        with self._launching:
            self._is_stopping = True
        return self.end_child()

    def has_died(self) -> bool:
        """Whether the server that was started runs no more."""
        return self._child is not None and self._child.poll() is not None

    def death(self) -> str:
        """How it ended, for people."""
        code = self._child.poll() if self._child else None
        if code is None:
            return "is running"
        return f"was ended by {process.signal_name(-code)}" if code < 0 else f"exited with {code}"

    def state(self) -> ServiceState:
        """What `status` tells about it."""
        return ServiceState(
            name=self.name,
            pid=self._child.pid if self._child else 0,
            port=self.port.number,
            version=self.version,
            ready_ms=self.ready_ms,
            log=self.folder.log(self.name),
            is_up=self.is_up,
        )

    @abstractmethod
    def prepare(self) -> None:
        """Find the executable, make the data folder and the configuration."""

    @abstractmethod
    def command(self) -> list[str]:
        """What to execute."""

    @abstractmethod
    def data_folder(self) -> Path:
        """Where the server works; its current folder."""

    @abstractmethod
    def ask(self) -> str | None:
        """The server's version when it answers; None (or `OSError`) when it is not ready yet."""

    def account(self) -> dict[str, Any]:
        """As whom it runs, as arguments for `subprocess`; ours unless given."""
        return {}

    def variables(self) -> dict[str, str]:
        """What it finds in its environment besides."""
        return {}

    def launch(self, command: list[str], folder: Path) -> subprocess.Popen[bytes]:
        """Make a program the child, working in `folder`, with its output in the log."""
        log = self.folder.open_log(self.name)
        try:
            self._log_start = os.fstat(log).st_size
            with self._launching:
                if self._is_stopping:
                    raise ServerError(f"{self.title} is being stopped")
                self._child = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=_clean_environment() | self.variables(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    umask=0o077,
                    start_new_session=True,
                    **self.account(),
                )
            return self._child
        finally:
            os.close(log)

    def end_child(self) -> bool:
        """End the running child and wait for it. Returns whether it is gone; none is fine."""
        self.is_up = False
        child = self._child
        if child is None:
            return True
        return process.stop(
            lambda: child.poll() is None,
            lambda number: child.send_signal(number),
            self.stop_signals,
        )

    def tail(self) -> str:
        """The last lines that the child wrote, for the end of a message."""
        lines = last_lines(self.folder.log(self.name), since=self._log_start)
        return "".join(f"\n  {line}" for line in lines)

    def hint(self, tail: str) -> str:
        """What to do about a child that failed so."""
        if "No space left on device" in tail:
            return f"Free some space on the disk that holds {self.folder.path}."
        return f"Read {self.folder.log(self.name)}"

    def _wait_ready(self, deadline: float) -> None:
        while True:
            if self.has_died():
                raise self._died()
            # Refused, cut short, or an answer that is not the server's yet.
            with contextlib.suppress(OSError, ValueError):
                version = self.ask()
                if version is not None:
                    self.version = version
                    return
            if time.monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"{self.title} was not ready in time{self.tail()}",
                    hint=f"Read {self.folder.log(self.name)}, or give it more --timeout.",
                )
            time.sleep(POLL_SECONDS)

    def _died(self) -> ServerError:
        tail = self.tail()
        if any(mark in tail for mark in PORT_TAKEN_MARKS):
            return PortTakenError(
                f"port {self.port.number} is in use by another program",
                hint=f"Stop it (ss -ltnp 'sport = :{self.port.number}' names it).",
                port=self.port.number,
            )
        return ServerError(
            f"{self.title} {self.death()} while it started{tail}", hint=self.hint(tail)
        )

    def _require_loopback(self) -> None:
        assert self._child is not None  # noqa: S101 - it has just answered
        beyond = process.listens_beyond_loopback(self._child.pid)
        if beyond:
            self.end_child()
            raise ServerError(
                f"{self.title} listens beyond loopback: {', '.join(beyond)}",
                hint="Report it: an embedded server must never do so.",
            )


def _clean_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_VARIABLES)}
    return kept | {"LC_ALL": "C"}
