"""The end of a server's log, for errors and for people who wait."""

from pathlib import Path

TAIL_BYTES = 16_384


def last_lines(path: Path, *, since: int = 0, count: int = 8) -> list[str]:
    """The end of a log, from the byte `since` on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since, size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
