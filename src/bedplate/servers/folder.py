"""The state folder (`.bedplate/`): where everything of one stack lies, private to its owner.

Promises: folders 0700, files 0600, no planted symbolic link is followed, and a run folder for
sockets whose path fits the limit of the system. Called by the client and by the supervisor.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bedplate.errors import BedplateError, ServerError

# sun_path holds 108 bytes on Linux and 104 on macOS, one of them the closing zero.
SOCKET_PATH_LIMIT = 103
POSTGRES_FOLDER = "postgres"
LONGEST_SOCKET_NAME = ".s.PGSQL.65535"
# A log that outgrew this at a start is put aside once, as <name>.1.
LOG_LIMIT_BYTES = 10_000_000


class StateFolder:
    """The paths in a state folder. The constructor touches nothing; `create` makes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.lock_file = path / "lock"
        self.ports_file = path / "ports.json"
        self.secrets_file = path / "secrets.json"
        self._run_record = path / "run-folder"
        self.nobody_file = path / "nobody-folder"
        self.valkey = path / "valkey"
        self.valkey_pid_file = path / "valkey.pid"
        self.seaweedfs = path / "seaweedfs"
        # There from before its start until after its end.
        self.seaweedfs_mark = path / "seaweedfs.started"

    def create(self) -> None:
        """Make the folder, or check that it is ours. Raises `ServerError`."""
        with explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The project's owner may keep it on another disk; what is in it may be no link.
            require_private(self.path, may_be_link=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            require_private(self.logs)

    def log(self, name: str) -> Path:
        """The log of one server, or of the supervisor."""
        return self.logs / f"{name}.log"

    def open_log(self, name: str) -> int:
        """A descriptor that appends to a log; one that outgrew its limit is put aside first."""
        path = self.log(name)
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def try_lock(self) -> int | None:
        """The lock of the one supervisor, as a descriptor; None when another holds it."""
        descriptor = open_private(self.lock_file, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_lock(self, descriptor: int) -> bool:
        """Whether the lock is still the file in this folder: false once the folder is removed."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.lock_file.stat())
        except OSError:
            return False

    def find_run(self) -> Path | None:
        """The folder of the sockets, if there is one and it is private to us."""
        run = self._local_run()
        if run is None:
            run = self._recorded_run()
        try:
            if run is not None:
                require_private(run)
        except (OSError, ServerError):
            return None
        return run

    def make_run(self) -> Path:
        """The folder of the sockets, made when missing. Only under the lock."""
        found = self.find_run()
        if found is not None:
            return found
        run = self._local_run()
        if run is not None:
            run.mkdir(mode=0o700)
            return run
        # mkdtemp: a guessable name under /tmp could be taken by another user before us.
        run = Path(tempfile.mkdtemp(prefix="bedplate-"))
        write_private(self._run_record, str(run))
        return run

    def remove_run(self, run: Path) -> None:
        """Leave nothing behind of a run folder outside of this one. Only under the lock."""
        if run.parent != self.path:
            shutil.rmtree(run, ignore_errors=True)
            self._run_record.unlink(missing_ok=True)

    def postgres(self) -> Path:
        """PostgreSQL's data folder: in here, or in the folder of the account `nobody`."""
        try:
            return Path(self.nobody_file.read_text(encoding="utf-8")) / POSTGRES_FOLDER
        except OSError:
            return self.path / POSTGRES_FOLDER

    def control_socket(self) -> Path | None:
        """Where the supervisor listens, if it ever did."""
        run = self.find_run()
        return None if run is None else run / "control"

    def _local_run(self) -> Path | None:
        run = self.path / "run"
        fits = len(os.fsencode(run / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_LIMIT
        return run if fits else None

    def _recorded_run(self) -> Path | None:
        try:
            return Path((self._run_record).read_text(encoding="utf-8"))
        except OSError:
            return None


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `ServerError` that says what to do about it."""
    try:
        yield
    except BedplateError:
        # Some of ours are an `OSError` too, and say what to do already.
        raise
    except OSError as error:
        raise ServerError(
            f"{error.filename or path} cannot be used: {error.strerror}",
            hint=_hint_for(error, path),
        ) from error


def require_private(path: Path, *, may_be_link: bool = False) -> None:
    """Raise `ServerError` unless `path` is a folder of ours; close it to others when it is open."""
    status = path.stat() if may_be_link else path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ServerError(f"{path} is no folder", hint=f"Remove it: rm '{path}'")
    if status.st_uid != os.geteuid():
        raise ServerError(
            f"{path} belongs to another user (uid {status.st_uid})",
            hint="Run as that user, or set BEDPLATE_STATE_DIR to a folder of your own.",
        )
    if status.st_mode & 0o077:
        path.chmod(0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a file for its owner only; a symbolic link in its place is an error."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, so that no reader ever sees half of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of ours; empty when it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hint_for(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free some space on the disk that holds {path}."
    return "Make it writable, or set BEDPLATE_STATE_DIR to a folder of your own."
