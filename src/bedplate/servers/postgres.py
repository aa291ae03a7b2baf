"""PostgreSQL as an embedded server: its data folder, its settings, its first answer, its end.

`postgres` itself is executed (pg_ctl waits in steps of 100 ms) and asked over its socket until it
answers. A data folder is there whole or not at all: initdb works beside it, then it is moved.
"""

import shutil
import signal
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from bedplate.errors import ServerError
from bedplate.servers import binaries
from bedplate.servers.accounts import Account, choose_account
from bedplate.servers.binaries import PostgresBinaries
from bedplate.servers.folder import POSTGRES_FOLDER, StateFolder, write_private
from bedplate.servers.keys import Ports, Secrets
from bedplate.servers.server import Server
from bedplate.servers.stack import StackOptions
from bedplate.servers.wire import PostgresConnection, PostgresRefusal

UNFINISHED = "postgres-unfinished-"
SUPERUSER = "postgres"
# Sorting by bytes is fast and the same everywhere; letters beyond ASCII must still be known as
# such, or text search takes "¿qué" for one word. Systems name that character type differently.
CHARACTER_TYPES = ("C.UTF-8", "en_US.UTF-8", "UTF-8")
# extension_control_path is of 18; our uuid-ossp is found by it.
EXTENSION_PATH_SINCE = 18
OWN_EXTENSIONS = Path(__file__).parent
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_permissions=0700",
    "password_encryption=scram-sha-256",
    # A client that was killed in a long statement is noticed, and its locks are freed.
    "client_connection_check_interval=1s",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_line_prefix=%m [%p] %q%u@%d ",
    "huge_pages=off",
    # Pools of several systems, each with an API, a relay and workers.
    "max_connections=200",
)
NOT_DURABLE = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
)
# The server is there, but not for clients yet (starting up, recovering, shutting down).
CANNOT_CONNECT_NOW = "57P03"


class Postgres(Server):
    """The stack's PostgreSQL."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"
    # Fast shutdown, then immediate (crash recovery at the next start), then the hard way.
    stop_signals = (
        (signal.SIGINT, timedelta(seconds=15)),
        (signal.SIGQUIT, timedelta(seconds=5)),
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
        self._binaries = PostgresBinaries(Path(), "0")
        self._account = Account(home=folder.path, run=folder.path)

    def client_tools(self) -> Path:
        """The folder with psql, pg_dump and the others."""
        return self._binaries.folder

    def url(self, user: str, password: str, database: str) -> str:
        """How to reach a database, password included."""
        entry = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{entry}@127.0.0.1:{self.port.number}/{quote(database, safe='')}"

    def connect(self, database: str) -> PostgresConnection:
        """A connection as superuser. Raises `OSError` or `PostgresRefusal`."""
        connection = PostgresConnection(self._account.run, self.port.number)
        return connection.open(SUPERUSER, self._secrets.postgres, database)

    def prepare(self) -> None:
        """Find the programs; make the data folder when there is none."""
        found = binaries.find_postgres(self._options.postgres_bin)
        self._account = choose_account(self.folder)
        self._binaries = self._account.reachable(found)
        if not self.data_folder().exists():
            self._initialise()
        self._require_same_major()
        # Left by a server that was killed; their pids mean nothing, and it runs no more: the
        # supervisor has stopped every orphan, under the lock.
        for stale in self._account.run.glob(".s.PGSQL.*"):
            stale.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """The server itself, so that the child's pid is the postmaster's."""
        settings = list(SETTINGS)
        settings.append(f"port={self.port.number}")
        settings.append(f'unix_socket_directories="{_doubled(self._account.run)}"')
        if self._binaries.major >= EXTENSION_PATH_SINCE:
            settings.append(f"extension_control_path=$system:{OWN_EXTENSIONS}")
        if not self._options.durable:
            settings += NOT_DURABLE
        command = [str(self._binaries.path("postgres")), "-D", str(self.data_folder())]
        for setting in settings:
            command += ["-c", setting]
        return self._account.command(command)

    def data_folder(self) -> Path:
        """PGDATA."""
        return self._account.home / POSTGRES_FOLDER

    def account(self) -> dict[str, Any]:
        """`nobody` where root may not map itself to another user."""
        return self._account.identity()

    def ask(self) -> str | None:
        """Log in as superuser; None while the server is not open for clients."""
        try:
            with self.connect("postgres") as connection:
                return connection.parameters.get("server_version", "").partition(" ")[0]
        except PostgresRefusal as refusal:
            if refusal.sqlstate == CANNOT_CONNECT_NOW:
                return None
            self.end_child()
            raise ServerError(
                f"PostgreSQL refuses its superuser: {refusal}",
                hint=f"Its password is in {self.folder.secrets_file}: put the right one back.",
            ) from refusal

    def _initialise(self) -> None:
        passwords = self._account.home / "superuser-password"
        write_private(passwords, self._secrets.postgres)
        self._account.hand_over(passwords)
        try:
            for character_type in CHARACTER_TYPES:
                if self._run_initdb(passwords, character_type):
                    return
                if "invalid locale name" not in self.tail():
                    break
        finally:
            passwords.unlink(missing_ok=True)
        tail = self.tail()
        raise ServerError(f"PostgreSQL's data folder cannot be made{tail}", hint=self.hint(tail))

    def _run_initdb(self, passwords: Path, character_type: str) -> bool:
        # A folder of its own for each try: the initdb of a supervisor that was killed may still
        # be writing into an earlier one.
        for earlier in self._account.home.glob(f"{UNFINISHED}*"):
            shutil.rmtree(earlier, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._account.home))
        self._account.hand_over(unfinished)
        command = [
            str(self._binaries.path("initdb")),
            "--no-sync",
            "--locale=C",
            f"--lc-ctype={character_type}",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            f"--username={SUPERUSER}",
            f"--pwfile={passwords}",
            f"--pgdata={unfinished}",
        ]
        if self.launch(self._account.command(command), self._account.home).wait() != 0:
            return False
        unfinished.rename(self.data_folder())
        return True

    def _require_same_major(self) -> None:
        path = self.data_folder() / "PG_VERSION"
        try:
            major = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise ServerError(
                f"{self.data_folder()} is no data folder of PostgreSQL",
                hint=f"Move it away (its data with it): mv '{self.data_folder()}' elsewhere",
            ) from None
        if major != str(self._binaries.major):
            raise ServerError(
                f"the data of this project is of PostgreSQL {major}, and {self._binaries.folder} "
                f"holds {self._binaries.version}",
                hint=f"Point BEDPLATE_POSTGRES_BIN to a PostgreSQL {major}, or move "
                f"'{self.data_folder()}' away and begin anew.",
            )


def _doubled(path: Path) -> str:
    """For a list of folders, in which commas separate and quotes quote."""
    return str(path).replace('"', '""')
