"""Valkey as an embedded server: its configuration, its first PING, its end.

Every acknowledged write survives kill -9 (append-only file, synced each second for power loss).
The password stands in a file for the owner only, never on a command line.
"""

import signal
import socket
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from bedplate.servers.binaries import find_valkey
from bedplate.servers.folder import StateFolder, write_private
from bedplate.servers.keys import Ports, Secrets
from bedplate.servers.server import Server
from bedplate.servers.stack import StackOptions

ANSWER_SECONDS = 2.0
# No snapshots beside the append-only file: they would add nothing, and where one cannot be written
# (a full disk, a removed folder) Valkey refuses to end.
DURABLE = ("appendonly yes", "appendfsync everysec", "aof-load-truncated yes", 'save ""')
NOT_DURABLE = ("appendonly no", 'save ""')


class Valkey(Server):
    """The stack's Valkey, or a Redis in its place."""

    name: ClassVar[str] = "valkey"
    title: ClassVar[str] = "Valkey"
    stop_signals = (
        (signal.SIGTERM, timedelta(seconds=10)),
        (signal.SIGKILL, timedelta(seconds=5)),
    )

    def __init__(
        self,
        folder: StateFolder,
        options: StackOptions,
        secrets: Secrets,
        ports: Ports,
    ) -> None:
        super().__init__(folder, ports)
        self._options = options
        self._secrets = secrets
        self._executable = Path()

    def url(self) -> str:
        """How to reach it, password included."""
        password = self._secrets.valkey
        entry = f":{password}@" if password else ""
        return f"redis://{entry}127.0.0.1:{self.port.number}/0"

    def prepare(self) -> None:
        """Find the executable and make the data folder."""
        self._executable = find_valkey(self._options.valkey_server)
        self.data_folder().mkdir(mode=0o700, exist_ok=True)

    def command(self) -> list[str]:
        """The server with its file; written anew, since the port may be another."""
        path = self.folder.path / "valkey.conf"
        write_private(path, self._configuration())
        return [str(self._executable), str(path)]

    def data_folder(self) -> Path:
        """Where the append-only file lies."""
        return self.folder.valkey

    def ask(self) -> str | None:
        """PING, then the version; None while it still loads its data."""
        with socket.create_connection(("127.0.0.1", self.port.number), ANSWER_SECONDS) as link:
            reader = link.makefile("rb")
            if self._secrets.valkey:
                link.sendall(_encode("AUTH", self._secrets.valkey))
                if not reader.readline().startswith(b"+OK"):
                    return None
            link.sendall(_encode("PING"))
            if not reader.readline().startswith(b"+PONG"):
                return None
            link.sendall(_encode("INFO", "server"))
            size = int(reader.readline()[1:])
            return _read_version(reader.read(size).decode(errors="replace"))

    def _configuration(self) -> str:
        lines = [
            "bind 127.0.0.1",
            f"port {self.port.number}",
            "protected-mode yes",
            "daemonize no",
            'logfile ""',
            f"dir {_quote(self.data_folder())}",
            f"pidfile {_quote(self.folder.valkey_pid_file)}",
            *(DURABLE if self._options.durable else NOT_DURABLE),
        ]
        if self._secrets.valkey:
            lines.append(f"requirepass {self._secrets.valkey}")
        return "\n".join(lines) + "\n"


def _read_version(info: str) -> str:
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    # A Valkey gives itself out as the Redis it is compatible with, and names itself besides.
    return fields.get("valkey_version") or fields.get("redis_version", "")


def _encode(*words: str) -> bytes:
    parts = [f"*{len(words)}\r\n".encode()]
    parts += [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"".join(parts)


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
