"""Statements straight on the driver, past SQLAlchemy: a third of the time for what runs per job.

Promises the same SQL, named once as a `text()` and compiled once. `fetch` runs it on whatever the
caller has: inside the transaction of a session or connection, with its errors, or on a
`DriverConnection` of one's own, where each statement is its own transaction. Called by the ledger,
the outbox, the relay and the worker.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy import Connection, TextClause
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from bedplate.rows.database import Database

CLOSE_TIMEOUT = timedelta(seconds=1)
# None of ours takes a tenth of this, however large the backlog.
STATEMENT_TIMEOUT = timedelta(seconds=30)
DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's


class DriverConnection:
    """A connection of one's own, on which each statement is its own transaction.

    Opened when used, and again after it broke. `is_relaxed`: a commit does not wait for the disk.
    Only for what costs nothing but a repeat when a crash of the server forgets it. A statement that
    takes longer than `timeout` counts as a connection that broke: a server that has vanished sends
    no reset.
    """

    def __init__(
        self,
        database: Database,
        *,
        is_relaxed: bool = False,
        idle_in_transaction: timedelta | None = None,
        timeout: timedelta = STATEMENT_TIMEOUT,
    ) -> None:
        self._database = database
        self._timeout = timeout
        self._settings = {"synchronous_commit": "off"} if is_relaxed else {}
        if idle_in_transaction is not None:
            limit_ms = int(idle_in_transaction.total_seconds() * 1000)
            self._settings["idle_in_transaction_session_timeout"] = str(limit_ms)
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, statement: TextClause, **values: Any) -> Sequence[asyncpg.Record]:
        """Every row that the statement returns. Raises `DatabaseUnreachableError`."""
        sql, names = numbered(statement)
        async with self._turn, self._in_time():
            connection = await self._opened()
            rows: list[asyncpg.Record] = await connection.fetch(
                sql, *(values[name] for name in names)
            )
            return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["DriverTransaction"]:
        """Several statements that commit together. Raises `DatabaseUnreachableError`."""
        async with self._turn, self._in_time():
            connection = await self._opened()
            async with connection.transaction():
                yield DriverTransaction(connection)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        async with self._database.translated():
            try:
                yield
            except TimeoutError as error:
                connection, self._connection = self._connection, None
                if connection is None:
                    raise
                connection.terminate()
                seconds = self._timeout.total_seconds()
                raise ConnectionError(f"no answer within {seconds:g} s") from error

    async def close(self) -> None:
        """Close the connection; what does not close in time is cut off."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=CLOSE_TIMEOUT.total_seconds())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    async def _opened(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await self._database.connect(command_timeout=self._timeout)
            for name, value in self._settings.items():
                await connection.execute("SELECT set_config($1, $2, false)", name, value)
            self._connection = connection
        return self._connection


class DriverTransaction:
    """The open transaction of a `DriverConnection`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, statement: TextClause, **values: Any) -> Sequence[asyncpg.Record]:
        """Every row that the statement returns."""
        sql, names = numbered(statement)
        rows: list[asyncpg.Record] = await self._connection.fetch(
            sql, *(values[name] for name in names)
        )
        return rows


AnyConnection = AsyncSession | AsyncConnection | DriverConnection | DriverTransaction


async def fetch(
    connection: AnyConnection, statement: TextClause, **values: Any
) -> Sequence[asyncpg.Record]:
    """The statement's rows, as the driver gives them; in the caller's transaction, if it has one.

    Raises what SQLAlchemy would raise on a session or connection of its own.
    """
    if isinstance(connection, DriverConnection | DriverTransaction):
        return await connection.fetch(statement, **values)
    sql, names = numbered(statement)
    parameters = tuple(values[name] for name in names)

    def run(its: Session | Connection) -> Sequence[asyncpg.Record]:
        return _run(its.connection() if isinstance(its, Session) else its, sql, parameters)

    return await connection.run_sync(run)


@cache
def numbered(statement: TextClause) -> tuple[str, tuple[str, ...]]:
    """The statement as the driver takes it, and its parameters' names in their order."""
    compiled = statement.compile(dialect=DIALECT)
    return str(compiled), tuple(compiled.positiontup or ())


def _run(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Sequence[asyncpg.Record]:
    """On SQLAlchemy's cursor: it begins the transaction, and knows which errors end a session."""
    failures = connection.dialect.loaded_dbapi.Error
    raw = connection.connection
    cursor = raw.cursor()
    try:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []
    except failures as error:
        is_lost = connection.dialect.is_disconnect(error, raw.dbapi_connection, cursor)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            sql,
            None,
            error,
            failures,
            hide_parameters=True,
            connection_invalidated=is_lost,
            dialect=connection.dialect,
        ) from error
    finally:
        cursor.close()
