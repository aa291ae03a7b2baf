"""The folder of a test run, in memory where there is room. Light: every run chooses one."""

import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "bedplate-test-"
# What a run may take: the stack (60 MB), and databases of several workers.
ROOM_BYTES = 2 * 1024**3
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def choose_folder() -> Path:
    """A new folder for this process' run. Those of runs that were killed are removed first."""
    parent = SHARED_MEMORY if _has_room(SHARED_MEMORY) else Path(tempfile.gettempdir())
    _sweep(parent)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))


def _has_room(folder: Path) -> bool:
    try:
        return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ROOM_BYTES
    except OSError:
        return False


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        owner = re.match(rf"{PREFIX}(\d+)-", folder.name)
        # The stack of a killed run stops by itself: nobody is left that holds it.
        if owner and folder.stat().st_uid == os.getuid() and not _is_alive(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
