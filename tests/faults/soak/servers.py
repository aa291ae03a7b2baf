"""The soak's own embedded servers, durable as in production, each behind a proxy."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from sqlalchemy import text

from bedplate.migrations.upgrade import upgrade
from bedplate.project import Project, SystemEntry
from bedplate.rows.database import Database
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings
from tests.faults.sample_system import CREATE_TABLES, NAME, SYSTEM
from tests.faults.tcp_proxy import TcpProxy
from tests.texts import ROOT

CREATE_MORE = (
    "CREATE TABLE soak_counters (key integer PRIMARY KEY, value bigint NOT NULL)",
    "CREATE TABLE soak_bumps (op uuid NOT NULL, key integer NOT NULL)",
)
# What is deleted goes within the run, so that the sweeper works, too.
SHORT = {
    "BEDPLATE_ENV": "test",
    "BEDPLATE_LEASE": "3",
    "BEDPLATE_FILE_GRACE": "10",
    "BEDPLATE_FILE_RETENTION": "15",
    "BEDPLATE_S3_TIMEOUT": "5",
    "BEDPLATE_WORKER_CONCURRENCY": "2",
    "BEDPLATE_LOG_LEVEL": "WARNING",
}


@dataclasses.dataclass
class Servers:
    """The stack, and the way to it through the proxies or past them."""

    project: Project
    direct: dict[str, str]
    proxies: dict[str, TcpProxy]

    @property
    def proxied(self) -> dict[str, str]:
        """The variables of every process of the soak."""
        found = dict(self.direct)
        for name, value in self.direct.items():
            for ending, proxy in self.proxies.items():
                if name.endswith(ending):
                    found[name] = proxy.in_url(value)
        return found

    def settings(self) -> Settings:
        """Past the proxies, for who looks from outside."""
        return Settings.load(NAME, self.direct)

    def pid(self, server: str) -> int | None:
        """The server's process at this moment; None while it is being started again."""
        state = client.read_state(self.project)
        service = state.service(server) if state else None
        return service.pid if service and service.is_up else None

    def signal(self, server: str, number: int) -> bool:
        """Send a server a signal; whether it was there."""
        pid = self.pid(server)
        if pid is None or not psutil.pid_exists(pid):
            return False
        os.kill(pid, number)
        return True

    def kill_backend(self, index: int) -> bool:
        """kill -9 one of PostgreSQL's backends: the server ends all of them, and recovers."""
        pid = self.pid("postgres")
        if pid is None:
            return False
        backends = [
            each.pid for each in psutil.Process(pid).children() if NAME in " ".join(each.cmdline())
        ]
        if backends:
            os.kill(backends[index % len(backends)], signal.SIGKILL)
        return bool(backends)


@contextmanager
def open_servers(folder: Path) -> Iterator[Servers]:
    """Start them, migrated, with a proxy before each; stopped at the end."""
    project = dataclasses.replace(
        Project.find({}, ROOT), state=folder, systems=(SystemEntry(NAME, None, NAME, NAME, ""),)
    )
    options = StackOptions(has_files=True)
    with ExitStack() as leaving:
        running = leaving.enter_context(client.attach(project, options))
        direct = {**SHORT, **running.state.environment(project.systems)}
        proxies = {
            ending: leaving.enter_context(TcpProxy.before(direct[variable]))
            for ending, variable in (
                ("DATABASE_URL", "DATABASE_URL"),
                ("REDIS_URL", "REDIS_URL"),
                ("S3_ENDPOINT_URL", "S3_ENDPOINT_URL"),
            )
        }
        yield Servers(project, direct, proxies)


async def prepare(servers: Servers) -> None:
    """The schema of the layer, and the tables of the sample system."""
    settings = servers.settings()
    await upgrade(SYSTEM, settings)
    database = Database(settings.migration_database())
    async with database, database.engine.begin() as owner:
        for statement in (*CREATE_TABLES, *CREATE_MORE):
            await owner.execute(text(statement))
