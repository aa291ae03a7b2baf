"""Processes: who a pid really is, what it listens on, and how one is stopped.

A pid alone proves nothing, since the system gives it away again: a process is the same only when
its start time and executable are. Nothing here signals a process that was not verified so. Linux
is read from /proc, without psutil's 60 ms of import; elsewhere psutil answers.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

IS_LINUX = sys.platform == "linux"
POLL_SECONDS = 0.002
# TCP_LISTEN in /proc/net/tcp, and the two loopback addresses as it writes them.
LISTENING = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


@dataclass(frozen=True)
class ProcessIdentity:
    """One process for good: no other one ever has the same three."""

    pid: int
    started: str
    executable: str


def identify(pid: int) -> ProcessIdentity | None:
    """Who runs under that pid now; None when nobody does, or we may not look."""
    return _identify_linux(pid) if IS_LINUX else _identify_psutil(pid)


def is_same(identity: ProcessIdentity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def working_folder(pid: int) -> Path | None:
    """The current folder of a process, which the servers set to their data folder."""
    try:
        if IS_LINUX:
            return Path(os.readlink(f"/proc/{pid}/cwd"))  # noqa: PTH115 - a removed one is no Path
        import psutil

        return Path(psutil.Process(pid).cwd())
    except (OSError, ImportError, _psutil_error()):
        return None


def find_in_folder(folder: Path, names: Collection[str]) -> list[ProcessIdentity]:
    """Every process of such an executable that works in `folder`: orphans of a dead parent."""
    target = folder.resolve()
    found = []
    for pid in _all_pids():
        if working_folder(pid) == target:
            identity = identify(pid)
            if identity is not None and Path(identity.executable).name in names:
                found.append(identity)
    return found


def stop(
    is_running: Callable[[], bool],
    send: Callable[[int], None],
    signals: Sequence[tuple[int, timedelta]],
) -> bool:
    """Send each signal in turn and give it its time. Returns whether the process is gone."""
    for number, patience in signals:
        with contextlib.suppress(ProcessLookupError):
            send(number)
        if wait_until(lambda: not is_running(), patience):
            return True
    return not is_running()


def stop_verified(identity: ProcessIdentity, signals: Sequence[tuple[int, timedelta]]) -> bool:
    """Stop a process that is no child of ours, each signal only after a look at who it is."""

    def send(number: int) -> None:
        if is_same(identity):
            os.kill(identity.pid, number)

    return stop(lambda: is_same(identity), send, signals)


def wait_until(is_done: Callable[[], bool], patience: timedelta) -> bool:
    """Ask every 2 ms. Returns whether it came true in time."""
    deadline = time.monotonic() + patience.total_seconds()
    while not is_done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def listens_beyond_loopback(pid: int) -> list[str]:
    """The addresses other than loopback on which a process accepts TCP connections."""
    if not IS_LINUX:
        return _beyond_loopback_psutil(pid)
    inodes = _socket_inodes(pid)
    beyond = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                address, _, _ = fields[1].partition(":")
                if fields[3] == LISTENING and fields[9] in inodes and address not in LOOPBACK:
                    beyond.append(fields[1])
    return beyond


def signal_name(number: int) -> str:
    """How a signal is called, for messages."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _identify_linux(pid: int) -> ProcessIdentity | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        executable = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - may end in " (deleted)"
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The command's name is in parentheses and may hold both; fields are counted from its end.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return ProcessIdentity(pid, f"{boot}:{fields[19]}", executable.removesuffix(" (deleted)"))


def _identify_psutil(pid: int) -> ProcessIdentity | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid, str(process.create_time()), process.exe())
    except psutil.Error:
        return None


def _all_pids() -> list[int]:
    if IS_LINUX:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    import psutil

    return list(psutil.pids())


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(entry)  # noqa: PTH115 - "socket:[…]" is no path
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    return inodes


def _beyond_loopback_psutil(pid: int) -> list[str]:
    import psutil

    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return []
    return [
        f"{connection.laddr.ip}:{connection.laddr.port}"
        for connection in connections
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.ip not in ("127.0.0.1", "::1")
    ]


def _psutil_error() -> type[Exception]:
    """psutil's root error where psutil is what we ask; elsewhere one that is never raised."""
    if IS_LINUX:
        return OSError
    import psutil

    error: type[Exception] = psutil.Error
    return error
