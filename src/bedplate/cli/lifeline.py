"""The line between `bedplate run` and each of its children: one socket pair, nothing else.

The child learns from it that `run` is gone, even by kill -9 (end of file), and ends; `run` learns
that the child is ready to work (one line). Portable: no parent-death signal, no polling of pids.
Called by `run`, which makes one per child, and first thing by `serve`, `relay` and `worker`.
"""

import os
import signal
import socket
import threading
from datetime import timedelta

VARIABLE = "BEDPLATE_LIFELINE"
READY = b"ready\n"
# What a child may take to end in order once `run` is gone; a job cut off by it is offered again.
GRACE = timedelta(seconds=5)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """The end that `run` keeps and the end that the child inherits."""
    kept, given = socket.socketpair()
    given.set_inheritable(True)
    return kept, given


def watch() -> socket.socket | None:
    """End this process when `run` is gone; None when it was not started by `run`.

    The watch goes on in processes that this one forks (the pool of the worker).
    """
    # Taken out, so that a program which this process starts does not take the number for its own.
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    line = socket.socket(fileno=int(number))
    line.set_inheritable(False)
    threading.Thread(target=_end_with, args=(line,), name="lifeline", daemon=True).start()
    os.register_at_fork(after_in_child=lambda: _watch_in_fork(line))
    return line


def say_ready(line: socket.socket | None) -> None:
    """Tell `run` that this process does its work from now on."""
    if line is not None:
        try:
            line.send(READY)
        except OSError:
            return  # `run` is gone: the watch ends this process


def _end_with(line: socket.socket) -> None:
    _wait_for_end(line)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE.total_seconds())
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _watch_in_fork(line: socket.socket) -> None:
    threading.Thread(target=_kill_with, args=(line,), name="lifeline", daemon=True).start()


def _kill_with(line: socket.socket) -> None:
    _wait_for_end(line)
    # The process that forked this one ends it in order; this is for when it cannot.
    threading.Event().wait(GRACE.total_seconds())
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_end(line: socket.socket) -> None:
    try:
        while line.recv(64):
            pass
    except OSError:
        return
