"""A PostgreSQL of the test's own, which may be killed, stopped at once, copied and promoted.

The stack's own server, durable, without a supervisor that would restart it.
"""

import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import asyncpg

from bedplate.errors import ServerError
from bedplate.migrations.upgrade import upgrade
from bedplate.servers.folder import StateFolder
from bedplate.servers.keys import Ports, Secrets
from bedplate.servers.postgres import SUPERUSER, Postgres
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings
from tests.faults.sample_system import CREATE_TABLES, NAME, SYSTEM

READY_WITHIN_SECONDS = 30.0
OWNER = "faults"


class OwnPostgres(Postgres):
    """`start` again after `kill` or `stop_at_once` finds what was acknowledged before."""

    more_settings: ClassVar[tuple[str, ...]] = ("wal_level=replica", "max_wal_senders=4")

    def __init__(self, folder: Path, secrets: Secrets | None = None) -> None:
        state = StateFolder(folder)
        state.create()
        state.make_run()
        if secrets is None:
            secrets = Secrets(state, is_pinned=False)
            secrets.load([])
        self.secrets = secrets
        super().__init__(state, StackOptions(durable=True), secrets, Ports(state, is_pinned=False))

    def command(self) -> list[str]:
        """The stack's, and what replication needs."""
        more = [part for setting in self.more_settings for part in ("-c", setting)]
        return [*super().command(), *more]

    def up(self) -> None:
        """Start it and wait until it answers."""
        self.start(time.monotonic() + READY_WITHIN_SECONDS)

    @property
    def pid(self) -> int:
        """The postmaster."""
        return self.state().pid

    def kill(self) -> None:
        """kill -9 of the postmaster; its children end when they notice."""
        self._end(signal.SIGKILL)

    def stop_at_once(self) -> None:
        """As `pg_ctl stop -m immediate`: no checkpoint, recovery at the next start."""
        self._end(signal.SIGQUIT)

    def superuser_url(self, database: str = "postgres") -> str:
        """How the superuser reaches a database."""
        return self.url(SUPERUSER, self.secrets.postgres, database)

    async def run(self, *statements: str) -> None:
        """Execute as the superuser."""
        connection = await asyncpg.connect(self.superuser_url())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def make_sample(self) -> Settings:
        """The sample system's database, migrated, and settings for it. No Redis is named."""
        await self.run(
            f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{OWNER}'",
            f"CREATE DATABASE {OWNER} OWNER {OWNER}",
        )
        settings = self.settings()
        await upgrade(SYSTEM, settings)
        connection = await asyncpg.connect(self.owner_url())
        try:
            for statement in CREATE_TABLES:
                await connection.execute(statement)
        finally:
            await connection.close()
        return settings

    def owner_url(self) -> str:
        """How the schema's owner reaches the sample's database."""
        return self.url(OWNER, OWNER, OWNER)

    def settings(self, url: str | None = None) -> Settings:
        """Settings for the sample's database, perhaps by way of a proxy."""
        return Settings.load(
            NAME, {"BEDPLATE_ENV": "test", "DATABASE_URL": url or self.owner_url()}
        )

    def _end(self, number: int) -> None:
        assert self._child is not None
        os.kill(self.pid, number)
        self._child.wait(READY_WITHIN_SECONDS)


class Replica(OwnPostgres):
    """A streaming copy of another server; `promote` makes it the primary."""

    def __init__(self, folder: Path, primary: OwnPostgres) -> None:
        super().__init__(folder, primary.secrets)
        self._primary = primary

    async def promote(self) -> None:
        """Make it the primary, and wait until it is."""
        connection = await asyncpg.connect(self.superuser_url())
        try:
            assert await connection.fetchval("SELECT pg_promote(true, 30)")
        finally:
            await connection.close()

    def _initialise(self) -> None:
        program = self._binaries.path("pg_basebackup")
        command = [
            str(program),
            f"--pgdata={self.data_folder()}",
            f"--dbname={self._primary.superuser_url()}",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--wal-method=stream",
        ]
        if self.launch(self._account.command(command), self._account.home).wait() != 0:
            raise ServerError(f"no base backup: {self.tail()}")
