"""Databases for tests: cloned from a template that is migrated once, or blank.

The template's name carries a hash of the revisions and of the server's version, so that it is
right for as long as it exists; one process builds it, under a lock, under another name first.
"""

import contextlib
import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from bedplate.migrations import grants
from bedplate.migrations.layer_schema import layer_revisions
from bedplate.migrations.lock import MigrationLock
from bedplate.migrations.upgrade import upgrade
from bedplate.rows.database import Database
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.reset import Reset
from bedplate.testing.stack import Servers
from bedplate.urls import DatabaseUrl

# A space of advisory locks of its own: "bedt".
NAMESPACE = 0x62656474
BUILD_TIMEOUT = timedelta(seconds=120)
PREFIX = "bedplate_test"

READ_VERSION = """
SELECT current_setting('server_version')
  || COALESCE((SELECT default_version FROM pg_available_extensions WHERE name = 'vector'), '')
"""
IS_THERE = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
END_OWN_SESSIONS = """
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = $1
  AND usename = current_user
"""
# The wheel's vector is not trusted: it takes a superuser. A server may also not offer it.
CREATE_VECTOR = """
DO $create$
BEGIN
  IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
    CREATE EXTENSION IF NOT EXISTS vector;
  END IF;
END
$create$
"""


@dataclass(frozen=True)
class ScratchDatabase:
    """A database that a test may spoil. `url` enters it as the owner of its schema.

    Where a transaction pooler stands before the server, `pooled_url` enters it through that one.
    """

    url: DatabaseUrl
    role: str
    redis_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    pooled_url: DatabaseUrl | None = None

    def variables(self) -> dict[str, str]:
        """The environment of a process that works on it."""
        return {
            "BEDPLATE_ENV": "test",
            "REDIS_URL": self.redis_url,
            "BEDPLATE_SECRET_KEY": self.secret_key,
            "BEDPLATE_APP_ROLE": self.role,
            **self._database_variables(),
        }

    def settings(self, **more: str) -> Settings:
        """The same as settings; `more` are further variables, by name."""
        return Settings.load(variables={**self.variables(), **more})

    def _database_variables(self) -> dict[str, str]:
        if self.pooled_url is None:
            return {"DATABASE_URL": self.url.render()}
        return {
            "DATABASE_URL": self.pooled_url.render(),
            "DATABASE_DIRECT_URL": self.url.render(),
            "MIGRATION_DATABASE_URL": self.url.render(),
            "BEDPLATE_TRANSACTION_POOLER": "true",
        }


class Clones:
    """Makes and drops databases on the run's server. `open` and `close` it, or `with`."""

    def __init__(self, servers: Servers, background: BackgroundLoop) -> None:
        self._servers = servers
        self._background = background
        self._admin = Database(servers.admin, pool_size=1, application_name="bedplate testing")
        self._connection: Any = None
        self._resets: dict[str, tuple[Reset, Any]] = {}

    def open(self) -> Self:
        """Connect. Raises `DatabaseUnreachableError`."""
        self._connection = self._background.run(self._admin.connect())
        return self

    def close(self) -> None:
        """Leave the server; databases that were not dropped stay."""
        for name in list(self._resets):
            self._background.run(self._close_reset(name))
        if self._connection is not None:
            self._background.run(self._connection.close())
            self._connection = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def blank(self, system: str, redis_url: str | None = None) -> ScratchDatabase:
        """An empty database with the system's owner and role, and the extension vector."""
        scratch = self._scratch(system, _fresh_name("blank"), redis_url)
        self._background.run(self._create_blank(scratch))
        return scratch

    def clone(self, system: System, redis_url: str | None = None) -> ScratchDatabase:
        """A migrated database; the first one of a run waits for the template to be built."""
        scratch = self._scratch(system.name, _fresh_name(system.name), redis_url)
        self._background.run(self._create_clone(system, scratch))
        return scratch

    def template_name(self, system: System) -> str:
        """What the system's template is called on this server, whether it is there or not."""
        return self._background.run(self._name_template(system))

    def watch(self, scratch: ScratchDatabase) -> None:
        """Prepare a database that was filled by hand for `reset`; `clone` does so by itself."""
        self._background.run(self._watch(scratch))

    def reset(self, scratch: ScratchDatabase) -> tuple[str, ...]:
        """Empty the tables of a clone that have rows; answers their names."""
        return self._background.run(self._resets[scratch.url.database][0].run())

    def drop(self, scratch: ScratchDatabase) -> None:
        """Drop it, and end what is still connected."""
        self._background.run(self._drop(scratch.url.database))

    def _scratch(self, system: str, name: str, redis_url: str | None) -> ScratchDatabase:
        url, pooler = self._servers.owners[system].with_database(name), self._servers.pooler
        return ScratchDatabase(
            url=url,
            role=self._servers.roles[system],
            redis_url=redis_url or self._servers.redis_url,
            secret_key=self._servers.secret_key,
            pooled_url=replace(url, host=pooler.host, port=pooler.port) if pooler else None,
        )

    async def _create_blank(self, scratch: ScratchDatabase) -> None:
        await self._create(scratch.url.database, scratch.url.user)
        database = Database(self._servers.admin.with_database(scratch.url.database))
        connection = await database.connect()
        try:
            # Who is no superuser may do without; a migration that needs it will say so.
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                await connection.execute(CREATE_VECTOR)
        finally:
            await connection.close()

    async def _create_clone(self, system: System, scratch: ScratchDatabase) -> None:
        template = await self._ensure_template(system)
        await self._create(scratch.url.database, scratch.url.user, template)
        await self._watch(scratch)

    async def _watch(self, scratch: ScratchDatabase) -> None:
        connection = await Database(scratch.url, application_name="bedplate reset").connect()
        reset = Reset(connection)
        self._resets[scratch.url.database] = (reset, connection)
        await reset.prepare()

    async def _ensure_template(self, system: System) -> str:
        name = await self._name_template(system)
        if await self._connection.fetchval(IS_THERE, name):
            return name
        async with MigrationLock(self._admin, timeout=BUILD_TIMEOUT, namespace=NAMESPACE):
            if not await self._connection.fetchval(IS_THERE, name):
                await self._build(system, name)
        return name

    async def _name_template(self, system: System) -> str:
        role = self._servers.roles[system.name]
        owner = self._servers.owners[system.name].user
        version = await self._connection.fetchval(READ_VERSION)
        return f"{PREFIX}_template_{system.name}_{_hash_of(system, version, owner, role)}"

    async def _build(self, system: System, name: str) -> None:
        """Under another name until it is done: a builder may be killed."""
        # Past the pooler, which would keep a connection to it, and then it cannot be copied.
        scratch = replace(self._scratch(system.name, f"{name}_building", None), pooled_url=None)
        building, final = (grants.quote_identifier(each) for each in (scratch.url.database, name))
        await self._drop(scratch.url.database)
        await self._create_blank(scratch)
        await upgrade(system, scratch.settings())
        await self._connection.execute(f"ALTER DATABASE {building} ALLOW_CONNECTIONS false")
        await self._connection.execute(f"ALTER DATABASE {building} RENAME TO {final}")

    async def _create(self, name: str, owner: str, template: str | None = None) -> None:
        source = f" TEMPLATE {grants.quote_identifier(template)}" if template else ""
        await self._connection.execute(
            f"CREATE DATABASE {grants.quote_identifier(name)}"
            f" OWNER {grants.quote_identifier(owner)}{source}"
        )

    async def _drop(self, name: str) -> None:
        await self._close_reset(name)
        drop = f"DROP DATABASE IF EXISTS {grants.quote_identifier(name)}"
        try:
            await self._connection.execute(f"{drop} WITH (FORCE)")
        except asyncpg.InsufficientPrivilegeError:
            # FORCE may not end an autovacuum worker for who is no superuser. Without it the server
            # ends that one by itself, and waits five seconds for all others to leave.
            await self._connection.execute(END_OWN_SESSIONS, name)
            await self._connection.execute(drop)

    async def _close_reset(self, name: str) -> None:
        if name in self._resets:
            await self._resets.pop(name)[1].close()


def _hash_of(system: System, version: str, owner: str, role: str) -> str:
    """Of everything that decides what a migrated database looks like."""
    digest = hashlib.sha256(f"{version}\0{owner}\0{role}\0".encode())
    for revision in layer_revisions():
        digest.update(revision.sql.encode())
    digest.update(Path(grants.__file__).read_bytes())
    if system.migrations is not None:
        for path in sorted(system.migrations.rglob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _fresh_name(what: str) -> str:
    return f"{PREFIX}_{what}_{secrets.token_hex(4)}"
