"""When a process began, for `status`. On Linux from /proc: importing psutil takes 40 ms."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

# Field 22 of /proc/PID/stat, counted behind the program's name, which may hold spaces itself.
START_TICKS_AFTER_NAME = 19


def started_at(pid: int) -> datetime | None:
    """The moment in UTC; None when there is no such process, or we may not look."""
    seconds = _seconds_linux(pid) if sys.platform == "linux" else _seconds_psutil(pid)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _seconds_linux(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[START_TICKS_AFTER_NAME])
    lines = Path("/proc/stat").read_text().splitlines()
    boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _seconds_psutil(pid: int) -> float | None:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
