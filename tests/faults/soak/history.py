"""What each client was told, in order: an append-only file a writer, one JSON object a line.

A line is in the file before the next step is taken, so that kill -9 leaves what was known. The end
of an operation is *acknowledged*, *failed* or *unknown*; one that has only begun is unknown, too.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID


class End(StrEnum):
    """What the client knows of its commit."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass
class Operation:
    """One transaction as its client saw it, with the ids that it was given on the way."""

    id: UUID
    kind: str
    end: End = End.UNKNOWN
    error: str = ""
    job: UUID | None = None
    file: UUID | None = None
    sha256: str | None = None
    deletes: UUID | None = None
    never: tuple[UUID, ...] = ()
    lines: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


class HistoryFile:
    """One writer's file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def begin(self, operation: UUID, kind: str) -> None:
        """A client is about to do it."""
        self._write(op=operation, kind=kind)

    def note(self, operation: UUID, **facts: Any) -> None:
        """It was given these ids; nothing is committed yet."""
        self._write(op=operation, **facts)

    def end(self, operation: UUID, end: End, error: str = "") -> None:
        """What the client was told."""
        self._write(op=operation, end=end, error=error)

    def _write(self, **entry: Any) -> None:
        # One write is one line, also when another process of the group is killed in the middle.
        os.write(self._file, json.dumps(entry, default=str).encode() + b"\n")


def read_histories(paths: Iterable[Path]) -> dict[UUID, Operation]:
    """All operations of all writers. A last line that was cut by a kill is left out."""
    found: dict[UUID, Operation] = {}
    for path in paths:
        for entry in _entries(path):
            operation_id = UUID(entry.pop("op"))
            operation = found.get(operation_id)
            if operation is None:
                operation = found[operation_id] = Operation(operation_id, entry.get("kind", "?"))
            _add(operation, entry)
    return found


def _add(operation: Operation, entry: dict[str, Any]) -> None:
    operation.lines += 1
    if "end" in entry:
        operation.end, operation.error = End(entry["end"]), entry.get("error", "")
    for name in ("job", "file", "deletes"):
        if entry.get(name):
            setattr(operation, name, UUID(entry[name]))
    if "sha256" in entry:
        operation.sha256 = entry["sha256"]
    if "never" in entry:
        operation.never += (UUID(entry["never"]),)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)
