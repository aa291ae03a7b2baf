"""Servers that outlived their supervisor (kill -9): found, verified, stopped cleanly.

A server sets its current folder to its data folder, which is private to one project, and the caller
holds that project's lock: a process of the right executable in that folder is ours, whatever a pid
file says. A pid file alone is never believed; the system may have given its number away.
"""

import contextlib
import os
import signal
import stat
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from bedplate.servers import process
from bedplate.servers.folder import StateFolder, read_json
from bedplate.servers.process import ProcessIdentity
from bedplate.servers.state import Step

POSTGRES_NAMES = ("postgres",)
VALKEY_NAMES = ("valkey-server", "redis-server")
WEED_NAMES = ("weed",)
# SeaweedFS makes sockets there for what its servers say to each other, wherever it is told to.
# Whoever may connect has still to show our certificate.
SEAWEEDFS_SOCKET = "/tmp/seaweedfs-{part}-grpc-{port}.sock"  # noqa: S108 - its choice, not ours
# Its worker looks for its admin server's gRPC so far above its HTTP, whatever it is told.
SEAWEEDFS_ADMIN_OFFSET = 10_000
Signals = Sequence[tuple[int, timedelta]]
FAST: Signals = ((signal.SIGINT, timedelta(seconds=15)), (signal.SIGKILL, timedelta(seconds=5)))
TERMINATE: Signals = (
    (signal.SIGTERM, timedelta(seconds=10)),
    (signal.SIGKILL, timedelta(seconds=5)),
)
KILL: Signals = ((signal.SIGKILL, timedelta(seconds=5)),)


def stop_orphans(folder: StateFolder) -> list[Step]:
    """Stop what a killed supervisor left behind and clear its pid files. Only under the lock."""
    return (
        stop_orphaned_postgres(folder)
        + stop_orphaned_valkey(folder)
        + stop_orphaned_seaweedfs(folder)
    )


def stop_orphaned_postgres(folder: StateFolder) -> list[Step]:
    """A postmaster, or the backends of one that was killed."""
    data = folder.postgres()
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return []
    found = process.find_in_folder(data, POSTGRES_NAMES)
    postmaster = _first_number(pid_file)
    # The postmaster first and fast: it ends its backends in order. What is left after it are
    # backends whose postmaster was killed; a new one cannot start before they are gone.
    found.sort(key=lambda identity: identity.pid != postmaster)
    steps = _stop_all("postgres", found[:1], FAST)
    _stop_all("postgres", found[1:], TERMINATE)
    pid_file.unlink(missing_ok=True)
    return steps


def stop_orphaned_valkey(folder: StateFolder) -> list[Step]:
    """A Valkey."""
    if not folder.valkey_pid_file.exists():
        return []
    found = process.find_in_folder(folder.valkey, VALKEY_NAMES)
    steps = _stop_all("valkey", found, TERMINATE)
    folder.valkey_pid_file.unlink(missing_ok=True)
    return steps


def stop_orphaned_seaweedfs(folder: StateFolder) -> list[Step]:
    """A SeaweedFS. Killed, as always."""
    if not folder.seaweedfs_mark.exists():
        return []
    found = process.find_in_folder(folder.seaweedfs, WEED_NAMES)
    steps = _stop_all("seaweedfs", found, KILL)
    clear_seaweedfs(folder, read_json(folder.ports_file))
    return steps


def clear_seaweedfs(folder: StateFolder, ports: Mapping[str, int]) -> None:
    """Remove what a SeaweedFS that ended has left: sockets named after its ports, and its mark."""
    for part in ("master", "volume", "filer", "s3"):
        _remove_socket(part, ports.get(f"seaweedfs {part} grpc"))
    admin = ports.get("seaweedfs admin")
    _remove_socket("admin", admin and admin + SEAWEEDFS_ADMIN_OFFSET)
    folder.seaweedfs_mark.unlink(missing_ok=True)


def _remove_socket(part: str, port: int | None) -> None:
    path = Path(SEAWEEDFS_SOCKET.format(part=part, port=port))
    # Not there, or another user's: the folder is everybody's.
    with contextlib.suppress(OSError):
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
            path.unlink()


def _stop_all(name: str, found: list[ProcessIdentity], signals: Signals) -> list[Step]:
    steps = []
    for identity in found:
        began = time.monotonic()
        is_gone = process.stop_verified(identity, signals)
        ms = round((time.monotonic() - began) * 1000)
        steps.append(Step(f"stop orphaned {name}", is_gone, ms, f"pid {identity.pid}"))
    return steps


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
