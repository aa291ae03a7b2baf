"""Follows the log of a child and picks the lines that a person at the terminal should see.

Warnings, errors and tracebacks always; everything with -v. A line without a level belongs to the
one before it. Called by `run` for each child, and by `logs -f`.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

INTERVAL_SECONDS = 0.2
# Ours: "2026-11-22T10:00:00.123Z WARNING …"; Celery's: "[2026-11-22 10:00:00,123: WARNING/…".
LEVEL = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ][\d:.,]+Z?:? (DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
SHOWN = frozenset({"WARNING", "ERROR", "CRITICAL"})
TRACEBACK = "Traceback (most recent call last):"


class Picker:
    """Decides line by line; remembers the level of the line before."""

    def __init__(self, *, shows_all: bool) -> None:
        self._shows_all = shows_all
        self._is_shown = False

    def is_shown(self, line: str) -> bool:
        """Whether a person should see this line."""
        found = LEVEL.match(line)
        if found:
            self._is_shown = found[1] in SHOWN
        elif line.startswith(TRACEBACK):
            self._is_shown = True
        return self._shows_all or self._is_shown


class Tail:
    """The lines that were appended to a file since the last call."""

    def __init__(self, path: Path, *, from_end: bool = True) -> None:
        self._path = path
        self._offset = path.stat().st_size if from_end and path.exists() else 0
        self._rest = b""

    def read(self) -> list[str]:
        """The new whole lines; none when the file is not there."""
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._offset:
                    self._offset = 0  # the file was put aside and begun again
                file.seek(self._offset)
                found = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(found)
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; none when it is not there."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


async def follow(path: Path, say: Callable[[str], None], *, shows_all: bool) -> None:
    """Say the lines that a person should see, until cancelled; what is left is said at the end."""
    tail, picker = Tail(path), Picker(shows_all=shows_all)
    try:
        while True:
            _say_new(tail, picker, say)
            await asyncio.sleep(INTERVAL_SECONDS)
    finally:
        _say_new(tail, picker, say)


def _say_new(tail: Tail, picker: Picker, say: Callable[[str], None]) -> None:
    for line in tail.read():
        if picker.is_shown(line):
            say(line)
