"""What a stack remembers: its random passwords, its secret key and its ports.

Passwords and keys are made once, begin with the development mark so that production refuses them,
and stay across restarts. A remembered port that is in use is replaced by another, unless pinned.
"""

import errno
import json
import secrets
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import PortTakenError, ServerError
from bedplate.project import SystemEntry
from bedplate.servers.folder import StateFolder, read_json, write_private
from bedplate.servers.state import S3Keys

PINNED_PORTS = {"postgres": 5432, "valkey": 6379}
# Below the range from which systems give ports to outgoing connections (32768 on Linux), so that
# a remembered port is not lost to one of them.
FIRST_PORT, LAST_PORT = 15_000, 29_999
TRIES = 200
# What the servers within SeaweedFS sign their tokens with, to each other.
SEAWEEDFS_TOKENS = ("signing", "signing.read", "filer_signing", "filer_signing.read")


class Secrets:
    """The passwords and the key of one stack, in a file for its owner only."""

    def __init__(self, folder: StateFolder, *, is_pinned: bool) -> None:
        self._path = folder.secrets_file
        self._is_pinned = is_pinned
        self._values: dict[str, str] = {}

    def load(self, systems: Iterable[SystemEntry]) -> None:
        """Read them, and make what is missing."""
        self._values = {key: str(value) for key, value in read_json(self._path).items()}
        names = ["secret_key", "postgres", "valkey", *_pair("files admin")]
        names += [f"seaweedfs {token}" for token in SEAWEEDFS_TOKENS]
        for entry in systems:
            names += [f"owner {entry.owner}", *_pair(f"files {entry.name}")]
        missing = [name for name in names if name not in self._values]
        if missing:
            for name in missing:
                self._values[name] = DEVELOPMENT_MARK + secrets.token_urlsafe(24)
            write_private(self._path, json.dumps(self._values, indent=1))

    @property
    def secret_key(self) -> str:
        """Signs cookies in development."""
        return self._values["secret_key"]

    @property
    def postgres(self) -> str:
        """The superuser's password."""
        return self._values["postgres"]

    @property
    def valkey(self) -> str | None:
        """Valkey's password; None in the pinned stand, as the specifications want it."""
        return None if self._is_pinned else self._values["valkey"]

    @property
    def files_admin(self) -> S3Keys:
        """Who may make the bucket. Ours alone."""
        return self._keys("files admin")

    def files(self, entry: SystemEntry) -> S3Keys:
        """Who may read and write a system's files."""
        return self._keys(f"files {entry.name}")

    def seaweedfs_token(self, name: str) -> str:
        """What one kind of its tokens is signed with."""
        return self._values[f"seaweedfs {name}"]

    def owner(self, entry: SystemEntry) -> str:
        """The password of a system's owner."""
        return (
            entry.development_password if self._is_pinned else self._values[f"owner {entry.owner}"]
        )

    def _keys(self, name: str) -> S3Keys:
        return S3Keys(*(self._values[one] for one in _pair(name)))


@dataclass(frozen=True)
class Port:
    """A port to listen on. `note` says why it is not the one of before."""

    number: int
    note: str = ""


class Ports:
    """Which port each server listens on, remembered across starts."""

    def __init__(self, folder: StateFolder, *, is_pinned: bool) -> None:
        self._path = folder.ports_file
        self._is_pinned = is_pinned
        self._lock = threading.Lock()

    def choose(self, name: str, *, beside: int = 0) -> Port:
        """A free port for a server; with `beside`, the one that far above it is free, too.

        Raises `PortTakenError` when the pinned one is in use.
        """
        if self.is_pinned(name):
            return Port(_require_free(PINNED_PORTS[name]))
        with self._lock:
            remembered = {key: int(value) for key, value in read_json(self._path).items()}
            before = remembered.get(name)
            if before is not None and _are_free(before, beside):
                return Port(before)
            number = _find_free(set(remembered.values()), beside)
            write_private(self._path, json.dumps(remembered | {name: number}))
        return Port(number, f"port {before} is in use" if before is not None else "")

    def is_pinned(self, name: str) -> bool:
        """Whether the port of that name is the one of the specifications."""
        return self._is_pinned and name in PINNED_PORTS


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection that lingers in TIME_WAIT does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


def _require_free(port: int) -> int:
    if not is_free(port):
        raise PortTakenError(
            f"port {port} is in use by another program",
            hint=f"Stop it (ss -ltnp 'sport = :{port}' names it), or unset BEDPLATE_PINNED.",
            port=port,
        )
    return port


def _are_free(port: int, beside: int) -> bool:
    return is_free(port) and (not beside or is_free(port + beside))


def _find_free(taken: set[int], beside: int) -> int:
    for _ in range(TRIES):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        if port not in taken and _are_free(port, beside):
            return port
    raise ServerError(f"no port from {FIRST_PORT} to {LAST_PORT} is free on 127.0.0.1")


def _pair(name: str) -> tuple[str, str]:
    return f"{name} key", f"{name} secret"
