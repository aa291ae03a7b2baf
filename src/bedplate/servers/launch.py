"""How a client reaches the supervisor: over its socket, or by starting one under the lock."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Self

from bedplate.errors import ServerError, WaitTimeoutError
from bedplate.servers.control import Lines, Message, connect, encode
from bedplate.servers.folder import StateFolder, explained
from bedplate.servers.logs import last_lines

ANSWER_TIMEOUT = timedelta(seconds=5)
# Between two looks at a supervisor that is just starting or just ending.
POLL_SECONDS = 0.01


class Link:
    """A connection to the supervisor, as messages."""

    def __init__(self, link: socket.socket) -> None:
        self._socket = link
        self._lines = Lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> None:
        """Raises `OSError` when the supervisor has gone."""
        self._socket.sendall(encode(message))

    def messages(self, deadline: float | None) -> Iterator[Message]:
        """What comes until the supervisor closes. Raises `TimeoutError`."""
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
        """For a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """The supervisor sees it at once, as it does when our process dies."""
        self._socket.close()


def link_to(folder: StateFolder) -> Link:
    """A connection to the folder's supervisor. Raises `OSError` when there is none."""
    path = folder.control_socket()
    if path is None:
        raise FileNotFoundError(f"{folder.path} has no control socket")
    return Link(connect(path, ANSWER_TIMEOUT.total_seconds()))


def ask(folder: StateFolder, request: Message) -> Message | None:
    """One answer of the supervisor; None when none runs."""
    try:
        with link_to(folder) as link:
            link.send(request)
            deadline = time.monotonic() + ANSWER_TIMEOUT.total_seconds()
            return next(link.messages(deadline), None)
    except (OSError, ValueError):
        return None


def request_or_start(folder: StateFolder, request: Message, deadline: float) -> tuple[Link, bool]:
    """Send `request` to the supervisor, started when there is none. Returns whether it was."""
    is_started = False
    while True:
        try:
            link = link_to(folder)
            link.send(request)
            return link, is_started
        except (ConnectionError, FileNotFoundError):
            pass
        with explained(folder.path):
            lock = folder.try_lock()
            if lock is not None:
                _start_supervisor(folder, lock, request, deadline)
                is_started = True
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
    try:
        try:
            _spawn(folder, (lock, writer), log, json.dumps(request).encode() + b"\n")
        finally:
            for descriptor in (lock, writer, log):
                os.close(descriptor)
        left = max(0.0, deadline - time.monotonic())
        is_readable = bool(select.select([reader], [], [], left)[0])
        # Closed without a byte: it has ended before it could listen.
        is_listening = is_readable and os.read(reader, 1) == b"1"
    finally:
        os.close(reader)
    if not is_listening:
        lines = last_lines(folder.log("supervisor"), since=log_start)
        raise ServerError(
            "the supervisor did not start" + "".join(f"\n  {line}" for line in lines),
            hint=f"Read {folder.log('supervisor')}",
        )


def _spawn(folder: StateFolder, inherited: tuple[int, int], log: int, line: bytes) -> None:
    lock, writer = inherited
    # -P: a file of the project that is called like a module of Python's must not be taken for it.
    command = [sys.executable, "-P", "-m", "bedplate.servers.supervisor"]
    with (
        subprocess.Popen(
            [*command, str(folder.path), str(lock), str(writer)],
            cwd=folder.path,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
            start_new_session=True,
        ) as child,
        contextlib.suppress(BrokenPipeError),
    ):
        child.communicate(line)
