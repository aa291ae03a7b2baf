"""One PostgreSQL database as one user: the engine, its pool, and single connections past it.

The only file that makes PostgreSQL connections. The constructor opens nothing; `open` asks once
whether the server is there and whether the pool would serve as the role it should. A server that
cannot be reached and a pool with nothing left are errors of ours, with a hint.

A connection is entered as the application's role by the start-up parameter `role`, so RESET
returns to it. Behind a transaction pooler the role is set at each BEGIN instead, and nothing is
prepared by name: the next transaction may be on another server connection.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from bedplate.errors import BedplateError, TransactionError
from bedplate.rows.admission import check_role, check_room
from bedplate.rows.pool import TRUSTED_IDLE, Pool, keep_alive
from bedplate.rows.present_rows import RowSession
from bedplate.rows.redaction import hide_values
from bedplate.rows.tls import tls_of
from bedplate.rows.transaction_id import ASSIGNED
from bedplate.rows.unreachable import connection_lost, is_lost, refusal
from bedplate.urls import DatabaseUrl

if TYPE_CHECKING:
    from bedplate.settings import Settings

log = logging.getLogger("bedplate.rows.database")

# Relay, leases and seeds need few connections as the owner, and share the server's with the API.
OWNER_POOL_SIZE = 2
OWNER_MAX_OVERFLOW = 3

READ_LOG = text(f"SELECT {ASSIGNED}")
# Transaction-local: the one way to say it that a transaction pooler cannot hand to a stranger.
SET_ROLE = text("SELECT set_config('role', :role, true)")


class Database:
    """A pool of connections to one database as one role.

    Use it from one event loop. Open and close it, or `async with`.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        role: str | None = None,
        pool_size: int = 5,
        max_overflow: int = 5,
        pool_timeout: timedelta = timedelta(seconds=2),
        pool_recycle: timedelta = timedelta(minutes=30),
        connect_timeout: timedelta = timedelta(seconds=5),
        is_behind_pooler: bool = False,
        application_name: str = "bedplate",
        direct_url: DatabaseUrl | None = None,
        trusted_idle: timedelta = TRUSTED_IDLE,
    ) -> None:
        self.url = url
        self.role = role
        self.is_behind_pooler = is_behind_pooler
        self.application_name = application_name
        # Whether the server tells where its log is; found out when opened.
        self.tells_log = False
        self._direct_url = direct_url or url
        # Read once: a context takes 10 ms, and a pool connects often.
        self._tls = {each: tls_of(each) for each in (url, self._direct_url)}
        self._connect_timeout = connect_timeout
        self._most_connections = pool_size + max_overflow
        self.engine = self._make_engine(pool_size, max_overflow, pool_timeout, pool_recycle)
        # Makes sessions that take a connection at their first statement; rows survive a commit.
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        keep_alive(self.engine.sync_engine, trusted_idle)
        hide_values(self.engine.sync_engine)
        if is_behind_pooler and role is not None:
            event.listen(self.engine.sync_engine, "begin", self._set_role)

    @classmethod
    def from_settings(cls, settings: "Settings", *, application_name: str = "bedplate") -> Self:
        """The database that requests are served from, as the application's role."""
        return cls(
            settings.database(),
            role=settings.serving_role(),
            pool_size=settings.pool_size,
            max_overflow=settings.max_overflow,
            pool_timeout=settings.pool_timeout,
            pool_recycle=settings.pool_recycle,
            connect_timeout=settings.connect_timeout,
            is_behind_pooler=settings.is_behind_pooler,
            application_name=application_name,
            direct_url=settings.direct_database(),
        )

    @classmethod
    def owner_from_settings(
        cls, settings: "Settings", *, application_name: str = "bedplate owner"
    ) -> Self:
        """The same database as the schema's owner, past any pooler: relay, leases, migrations."""
        return cls(
            settings.migration_database(),
            pool_size=OWNER_POOL_SIZE,
            max_overflow=OWNER_MAX_OVERFLOW,
            pool_timeout=settings.pool_timeout,
            pool_recycle=settings.pool_recycle,
            connect_timeout=settings.connect_timeout,
            application_name=application_name,
        )

    async def open(self) -> None:
        """Connect once and check who serves.

        Raises `DatabaseUnreachableError`; `RoleRefusedError` when a pooled connection is another
        than the role asked for, or could step round row-level security. Warns when the pool may
        ask for more connections than the server has left.
        """
        try:
            async with self.translated(), self.engine.connect() as connection:
                if self.role is not None:
                    await check_role(connection, self.role)
                if not self.is_behind_pooler:
                    await check_room(connection, self._most_connections)
            self.tells_log = await self._find_out_log()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every connection that is not in use. The object can be opened again."""
        await self.engine.dispose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def session(self) -> AsyncSession:
        """A new session; it takes a connection at its first statement. Rows survive a commit."""
        return AsyncSession(self.engine, expire_on_commit=False, sync_session_class=RowSession)

    async def connect(self, *, command_timeout: timedelta | None = None) -> asyncpg.Connection:
        """A connection of one's own, past the pool and any pooler, as the same user and role.

        For LISTEN, heartbeats and locks; the caller closes it. A command that takes longer than
        `command_timeout` raises `TimeoutError`. Raises `DatabaseUnreachableError`.
        """
        return await self._connect(
            self._direct_url, is_behind_pooler=False, command_timeout=command_timeout
        )

    async def reach(self) -> None:
        """Log in as requests do, past the pool but through any pooler, and leave.

        Waits for no turn on a busy pooler's server. Raises `DatabaseUnreachableError`.
        """
        (await self._connect_pooled()).terminate()

    async def ping(self) -> None:
        """One round trip on a pooled connection. Raises as `open` and the pool do."""
        async with self.translated(), self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Turn a connection that breaks inside the block into `DatabaseUnreachableError`."""
        with self.translating():
            yield

    @contextmanager
    def translating(self) -> Iterator[None]:
        """As `translated`, for a plain `with`."""
        try:
            yield
        except BedplateError:
            # It has its words already, and some are an OSError too.
            raise
        except DBAPIError as error:
            if not (error.connection_invalidated or is_lost(error.orig)):
                raise
            raise connection_lost(self.url) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if not is_lost(error):
                raise
            raise connection_lost(self.url) from error

    async def _find_out_log(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                await connection.execute(READ_LOG)
        except DBAPIError as error:
            if error.connection_invalidated or is_lost(error.orig):
                raise
            log.warning("The server does not tell its log: a lost COMMIT will stay unknown")
            return False
        return True

    def _make_engine(
        self, pool_size: int, max_overflow: int, timeout: timedelta, recycle: timedelta
    ) -> AsyncEngine:
        return create_async_engine(
            # Without the password: an engine's URL is shown in reprs and traces.
            URL.create("postgresql+asyncpg", self.url.user, None, database=self.url.database),
            poolclass=Pool,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=timeout.total_seconds(),
            pool_recycle=recycle.total_seconds(),
            # The most recently used first, so that what a peak opened can grow old and be closed.
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={
                "async_creator_fn": self._connect_pooled,
                "prepared_statement_cache_size": 0 if self.is_behind_pooler else 100,
            },
        )

    async def _connect_pooled(self, **_dialect_arguments: Any) -> asyncpg.Connection:
        return await self._connect(self.url, is_behind_pooler=self.is_behind_pooler)

    async def _connect(
        self, url: DatabaseUrl, *, is_behind_pooler: bool, command_timeout: timedelta | None = None
    ) -> asyncpg.Connection:
        arguments = url.connect_arguments()
        if command_timeout is not None:
            arguments["command_timeout"] = command_timeout.total_seconds()
        if self._tls[url] is not None:
            arguments["ssl"] = self._tls[url]
        arguments.setdefault("server_settings", {})["application_name"] = self.application_name
        if is_behind_pooler:
            # Unnamed statements only: named ones stay on a server connection that others get.
            arguments["statement_cache_size"] = 0
        elif self.role is not None:
            arguments["server_settings"]["role"] = self.role
        try:
            return await asyncpg.connect(**arguments, timeout=self._connect_timeout.total_seconds())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise refusal(url, error, role=self.role) from error

    def _set_role(self, connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            raise TransactionError(
                "behind a transaction pooler a connection in AUTOCOMMIT would run as the owner",
                hint="Use a transaction, or Database.connect() for a connection of one's own.",
            )
        connection.execute(SET_ROLE, {"role": self.role})
