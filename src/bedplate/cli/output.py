"""What a command says: results on stdout, progress, warnings and errors on stderr.

In JSON a command line prints one object on stdout, {ok, data | error, command, duration_ms}.
Made by `Invocation.output`; nothing else in `cli/` prints, but for `env` and pass-through programs.
"""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

if TYPE_CHECKING:
    from bedplate.cli.options import Invocation

COLORS = {"✓": "32", "✗": "31", "!": "33"}
# For terminals that cannot show them.
PLAIN_MARKS = {"✓": "ok", "✗": "failed:", "·": "-", "!": "!", "…": "...", "→": "->"}


class Output:
    """The two streams of one command line, in the format that was asked for."""

    def __init__(self, invocation: "Invocation") -> None:
        self._invocation = invocation

    @property
    def is_json(self) -> bool:
        """Whether the result is to be one JSON object."""
        return self._invocation.format == "json"

    @property
    def is_verbose(self) -> bool:
        """Whether -v was given."""
        return self._invocation.verbosity > 0

    def result(self, data: Any, text: str | Iterable[str]) -> None:
        """Print the command's result: `data` in JSON, else the lines of `text`."""
        if self.is_json:
            self._print_object({"ok": True, "data": data})
        else:
            lines = [text] if isinstance(text, str) else list(text)
            if lines:
                print("\n".join(_encodable(line, sys.stdout) for line in lines), flush=True)
        self._invocation.has_answered = True

    def done(self, line: str, took: timedelta | None = None) -> None:
        """A step that succeeded."""
        self._say("✓", f"{line} ({duration(took)})" if took is not None else line)

    def failed(self, line: str) -> None:
        """A step that did not succeed, where the command goes on."""
        self._say("✗", line)

    def warn(self, line: str) -> None:
        """Something that the person should know."""
        self._say("!", line)

    def note(self, line: str) -> None:
        """A line of progress."""
        self._say("", line)

    def detail(self, line: str) -> None:
        """A line of progress for those who asked with -v."""
        if self.is_verbose:
            self._say("", line)

    def fail(self, code: str, message: str, hint: str) -> None:
        """The error that ends the command: what happened, and what to do."""
        if self.is_json and not self._invocation.has_answered:
            error = {"code": code, "message": message, "hint": hint}
            self._print_object({"ok": False, "error": error})
            return
        self._say("✗", message)
        if hint:
            self._say("", f"  Try: {hint.removeprefix('Try: ')}")

    def _say(self, mark: str, line: str) -> None:
        from bedplate.cli.options import is_colored

        text = f"{mark} {line}" if mark else line
        if mark in COLORS and is_colored(self._invocation):
            text = f"\x1b[{COLORS[mark]}m{mark}\x1b[0m {line}"
        print(_encodable(text, sys.stderr), file=sys.stderr, flush=True)

    def _print_object(self, answer: dict[str, Any]) -> None:
        import json

        answer["command"] = self._invocation.command
        answer["duration_ms"] = round((time.monotonic() - self._invocation.started) * 1000)
        print(json.dumps(answer, ensure_ascii=False, default=str), flush=True)


def duration(took: timedelta) -> str:
    """A duration for people: 312 ms, 1.24 s, 3 min 5 s."""
    seconds = took.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def size(size_bytes: int) -> str:
    """A size for people: 312 B, 1.2 MB, 3.4 GB, in powers of 1000."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    amount = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines, the first being the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def record(fields: Mapping[str, Any]) -> list[str]:
    """Named values as aligned lines, one each."""
    width = max(map(len, fields))
    return [f"{name:<{width}}  {'-' if value is None else value}" for name, value in fields.items()]


def plain(value: Any) -> Any:
    """A value as JSON and people get it: times in UTC to the second, ids as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for mark, plain in PLAIN_MARKS.items():
            text = text.replace(mark, plain)
        return text.encode(encoding, "replace").decode(encoding)
    return text
