"""PgBouncer before a server, as managed databases have one: in transaction mode, for tests.

A client's next transaction goes to another server connection whenever there is one, so that what
a transaction leaves behind is met by a stranger. A shell holds it on a pipe: when the process
that started it ends, in whatever way, PgBouncer and its folder go too.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from bedplate.errors import ServerError
from bedplate.urls import DatabaseUrl

PROGRAM = "pgbouncer"
# Debian keeps it where only administrators look.
FOLDERS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
# It refuses to run as root.
ACCOUNT = "nobody"
START_TIMEOUT = timedelta(seconds=10)
POLL_SECONDS = 0.01
POOL_SIZE = 20

WATCH = 'folder=$1; shift; "$@" & read -r _; kill $!; wait; rm -rf -- "$folder"'
CONFIGURATION = """
[databases]
* = host={host} port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
server_round_robin = 1
server_login_retry = 1
log_connections = 0
log_disconnections = 0
log_stats = 0
"""


def find_pgbouncer() -> Path | None:
    """The program, where it is installed."""
    found = shutil.which(PROGRAM, path=FOLDERS)
    return Path(found) if found else None


@contextmanager
def open_pooler(
    server: DatabaseUrl, users: Iterable[DatabaseUrl], *, pool_size: int = POOL_SIZE
) -> Iterator[DatabaseUrl]:
    """A pooler before `server`, for the users of these URLs; yields its address in `server`.

    `pool_size` is how many server connections each database and user gets. Raises `ServerError`.
    """
    program = find_pgbouncer()
    if program is None:
        raise ServerError("PgBouncer is not installed", hint="On Debian: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="bedplate-pooler-"))
    port = _find_free_port()
    configuration = _configure(folder, server, users, port=port, pool_size=pool_size)
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["sh", "-c", WATCH, "sh", str(folder), str(program), *_account(), str(configuration)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            # Ctrl-C is for the tests; it goes when they have gone.
            start_new_session=True,
        ) as watcher,
    ):
        try:
            _await_port(port, log)
            yield replace(server, host="127.0.0.1", port=port, sslmode=None)
        finally:
            watcher.communicate()


def _configure(
    folder: Path, server: DatabaseUrl, users: Iterable[DatabaseUrl], *, port: int, pool_size: int
) -> Path:
    """Write what it reads: the passwords too, since it logs in to the server as its clients."""
    passwords = {url.user: url.password for url in users}
    lines = [f"{_quoted(user)} {_quoted(password)}\n" for user, password in passwords.items()]
    (folder / "users").write_text("".join(lines))
    path = folder / "pgbouncer.ini"
    path.write_text(
        CONFIGURATION.format(
            host=server.host,
            server_port=server.port,
            port=port,
            users=folder / "users",
            pool_size=pool_size,
        )
    )
    if os.geteuid() == 0:
        for each in (folder, *folder.iterdir()):
            shutil.chown(each, ACCOUNT, pwd.getpwnam(ACCOUNT).pw_gid)
    return path


def _account() -> list[str]:
    return ["-u", ACCOUNT] if os.geteuid() == 0 else []


def _quoted(value: str) -> str:
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise ServerError(
        f"PgBouncer does not start: {log.read_text(errors='replace')[-2000:]}",
        hint="Its last lines are above.",
    )
