"""The servers of one stack, side by side: started, provisioned, restarted, stopped.

Owned by the supervisor; blocking, called from its worker thread. `stop` may be called at any time,
from another thread, and ends a start that is under way.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bedplate.errors import BedplateError, ServerError
from bedplate.project import SystemEntry
from bedplate.servers import orphans
from bedplate.servers.databases import provision
from bedplate.servers.folder import StateFolder
from bedplate.servers.keys import PINNED_PORTS, Ports, Secrets
from bedplate.servers.postgres import SUPERUSER, Postgres
from bedplate.servers.seaweedfs import SeaweedFS
from bedplate.servers.server import Server
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState, Step
from bedplate.servers.valkey import Valkey
from bedplate.servers.wire import PostgresRefusal

PINNED_WARNING = "development credentials: open to everyone on this machine"
Publish = Callable[[Step], None]


class EmbeddedStack:
    """The servers of one state folder. The constructor opens nothing."""

    def __init__(self, folder: StateFolder, options: StackOptions, publish: Publish) -> None:
        self.folder = folder
        self.options = options
        self._publish = publish
        self._secrets = Secrets(folder, is_pinned=options.pinned)
        ports = Ports(folder, is_pinned=options.pinned)
        self.postgres = Postgres(folder, options, self._secrets, ports)
        self.valkey = Valkey(folder, options, self._secrets, ports)
        self.seaweedfs = SeaweedFS(folder, options, self._secrets, ports)
        wanted = (
            (self.postgres, options.has_postgres),
            (self.valkey, options.has_valkey),
            (self.seaweedfs, options.has_files),
        )
        self.servers: tuple[Server, ...] = tuple(
            server for server, is_wanted in wanted if is_wanted
        )
        self._systems: dict[str, SystemEntry] = {}
        self._is_started = False
        self._is_stopping = threading.Event()

    def start(self, systems: Sequence[SystemEntry], deadline: float) -> None:
        """Start them and make every system's database. Raises the first error of a server."""
        for step in orphans.stop_orphans(self.folder):
            self._publish(step)
        self._secrets.load(systems)
        self.seaweedfs.expect(systems)
        errors: list[BaseException] = []

        def start_one(server: Server) -> None:
            try:
                self._start_server(server, deadline)
                # Databases need no other server: made while those may still start.
                if server is self.postgres:
                    self._provision(systems)
            except BaseException as error:  # noqa: BLE001 - raised again below, in the caller
                errors.append(error)
                # No use in waiting for the others: their start ends too.
                self.stop()

        side_by_side(start_one, self.servers)
        if errors:
            raise errors[0]
        self._is_started = True

    def add_systems(self, systems: Sequence[SystemEntry]) -> None:
        """Make what systems need that came after the start. Raises `ServerError`."""
        added = [entry for entry in systems if self._systems.get(entry.name) != entry]
        if not added or not self._is_started:
            return
        self._secrets.load(added)
        if self.options.has_postgres:
            self._provision(added)
        if self.seaweedfs in self.servers:
            self.seaweedfs.admit(added)

    def add_files(self, systems: Sequence[SystemEntry], deadline: float) -> None:
        """Start SeaweedFS in a stack that was started without. Raises `ServerError`."""
        if self.seaweedfs in self.servers or not self._is_started:
            return
        self._secrets.load(systems)
        self.seaweedfs.expect([*self._systems.values(), *systems])
        # Before it starts, so that a stop meanwhile ends it, too.
        self.servers = (*self.servers, self.seaweedfs)
        try:
            self._start_server(self.seaweedfs, deadline)
        except BedplateError:
            self.servers = tuple(one for one in self.servers if one is not self.seaweedfs)
            raise

    def server(self, name: str) -> Server:
        """The server of that name."""
        return next(server for server in self.servers if server.name == name)

    def restart(self, server: Server, deadline: float) -> None:
        """Start a server again that has died. Raises `ServerError`."""
        if server is self.postgres:
            orphans.stop_orphaned_postgres(self.folder)
        self._start_server(server, deadline)

    def stop(self) -> list[Step]:
        """End all at once. Returns a step for each."""
        self._is_stopping.set()
        steps: list[Step] = []

        def stop_one(server: Server) -> None:
            began = time.monotonic()
            is_gone = server.stop()
            steps.append(Step(f"stop {server.name}", is_gone, _since(began)))

        side_by_side(stop_one, self.servers)
        return steps

    def state(self, *, supervisor_pid: int, is_detached: bool) -> StackState:
        """How to reach everything."""
        databases = {
            name: self.postgres.url(entry.owner, self._secrets.owner(entry), entry.database)
            for name, entry in self._systems.items()
        }
        has_files = self.seaweedfs in self.servers
        return StackState(
            services=tuple(server.state() for server in self.servers),
            databases=databases,
            redis_url=self.valkey.url() if self.options.has_valkey else "",
            admin_url=self.postgres.url(SUPERUSER, self._secrets.postgres, "postgres"),
            secret_key=self._secrets.secret_key,
            supervisor_pid=supervisor_pid,
            client_tools=Path(self.postgres.client_tools()),
            is_detached=is_detached,
            s3_url=self.seaweedfs.url() if has_files else "",
            s3_keys=self.seaweedfs.keys() if has_files else {},
        )

    def _provision(self, added: Sequence[SystemEntry]) -> None:
        began = time.monotonic()
        self._secrets.load(added)
        try:
            with self.postgres.connect("postgres") as admin:
                made = provision(admin, self.postgres.connect, added, self._secrets.owner)
        except (OSError, PostgresRefusal) as error:
            raise ServerError(
                f"the systems' databases cannot be made: {error}",
                hint=f"Read {self.folder.log('postgres')}",
            ) from error
        self._systems |= {entry.name: entry for entry in added}
        detail = f"made {', '.join(made)}" if made else f"{len(added)} checked"
        self._publish(Step("databases", True, _since(began), detail))

    def _start_server(self, server: Server, deadline: float) -> None:
        began = time.monotonic()
        try:
            server.start(deadline)
        except BedplateError as error:
            if not self._is_stopping.is_set():
                self._publish(Step(server.name, False, _since(began), error.message))
            raise
        port = server.port
        is_pinned = self.options.pinned and server.name in PINNED_PORTS
        notes = [port.note, PINNED_WARNING if is_pinned else ""]
        note = "".join(f" ({note})" for note in notes if note)
        detail = f"{server.title} {server.version} on 127.0.0.1:{port.number}{note}"
        self._publish(Step(server.name, True, server.ready_ms, detail))


def side_by_side(act: Callable[[Server], None], servers: Sequence[Server]) -> None:
    """Do it to each at the same time; return when all is done."""
    threads = [threading.Thread(target=act, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
