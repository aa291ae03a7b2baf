"""What `bedplate run` leaves in the state folder for `status` and `logs`: its children.

The lock on the file is the truth: while it is held, `run` lives; without it the content is old.
Only one `run` per state folder, so that logs and addresses are one's own.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bedplate.errors import ConflictError

NAME = "run.json"
PATIENCE = timedelta(seconds=1)


class RunRecord:
    """The record of the `run` that holds the lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, children: Sequence[dict[str, Any]]) -> None:
        """Replace the content: name, pid and port of each child."""
        content = json.dumps(list(children)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


@contextmanager
def hold_record(state: Path) -> Iterator[RunRecord]:
    """Hold the lock while the block runs. Raises `ConflictError` when another `run` does."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(descriptor):
            raise ConflictError(
                "`bedplate run` runs already for this project",
                hint="bedplate status; or another one beside it: bedplate run -n second",
            )
        record = RunRecord(descriptor)
        record.write([])
        yield record
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock, patiently: `status` shares it for a moment, and so does a dying `run`."""
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def read_record(state: Path) -> list[dict[str, Any]]:
    """The children of the `run` that lives now; none when none does."""
    try:
        descriptor = os.open(state / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return []
    except BlockingIOError:
        return _parse(os.pread(descriptor, 65536, 0))
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(content)
    except ValueError:
        return []  # read in the middle of a write
    return found if isinstance(found, list) else []
