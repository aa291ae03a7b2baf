"""The COMMIT: the critical section of a transaction, whose outcome is the server's.

When the answer is lost, the server is asked on a new connection what became of the transaction's
number: committed is success, rolled back says that it may be tried again, and what nobody can say
is `CommitUnknownError`. Called by `transaction.py`, in a task of its own that no cancellation
reaches.
"""

import asyncio
import logging
from datetime import timedelta

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import CommitUnknownError, DatabaseUnreachableError, UnreachableError
from bedplate.failpoints import failpoint
from bedplate.rows.database import Database
from bedplate.rows.transaction_id import Mark, Status, end_waiting, read_status
from bedplate.rows.unreachable import is_lost
from bedplate.transaction_end import close_session, discard, give_up

log = logging.getLogger("bedplate.commit")

# COMMIT cannot be cancelled, so it must end by itself when the server is gone.
COMMIT_TIMEOUT = timedelta(seconds=30)
# A server that was killed is back within seconds; a failover may take longer, and is not awaited.
RESOLVE_WITHIN = timedelta(seconds=10)
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5
CLOSE_SECONDS = 1.0


async def commit(session: AsyncSession, database: Database, mark: Mark | None) -> None:
    """Commit the transaction with the number in `mark`, and give the connection back.

    Raises what the server says of it; without an answer `DatabaseUnreachableError` (rolled back)
    or `CommitUnknownError`.
    """
    limit = asyncio.timeout(COMMIT_TIMEOUT.total_seconds())
    try:
        failpoint("tx.before_commit")
        async with limit:
            await session.commit()
    except Exception as error:
        if not (limit.expired() or _is_lost(error)):
            await discard(session)
            raise
        await give_up(session)
        await _resolve(database, mark, error)
    except BaseException:
        await discard(session)
        raise
    else:
        await close_session(session)
    failpoint("tx.after_commit")


async def _resolve(database: Database, mark: Mark | None, error: Exception) -> None:
    status = Status.UNKNOWN if mark is None else await _find_out(database, mark)
    if status is Status.COMMITTED:
        log.info("A commit whose answer was lost stands", extra={"xid": mark and mark.xid})
        return
    if status is Status.ABORTED:
        raise DatabaseUnreachableError(
            "the connection broke at the COMMIT, and the transaction was rolled back",
            hint="Nothing is committed: do it again.",
            reason="rolled_back",
        ) from error
    raise CommitUnknownError(
        "the connection broke at the COMMIT, and whether it was committed is not known",
        hint="Read before doing it again; over HTTP, repeat it with the same Idempotency-Key.",
        xid=mark and mark.xid,
    ) from error


async def _find_out(database: Database, mark: Mark) -> Status:
    """Ask until the server has decided, or the time is over."""
    pause = FIRST_PAUSE_SECONDS
    status = Status.UNKNOWN
    try:
        async with asyncio.timeout(RESOLVE_WITHIN.total_seconds()):
            while True:
                status = await _ask(database, mark)
                if status is not Status.IN_PROGRESS:
                    return status
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    except TimeoutError:
        return Status.UNKNOWN


async def _ask(database: Database, mark: Mark) -> Status:
    """One question on a connection of its own; a server that is not there is still deciding."""
    try:
        connection = await database.connect()
    except UnreachableError:
        return Status.IN_PROGRESS
    try:
        status = await read_status(connection, mark)
        if status is Status.IN_PROGRESS:
            await end_waiting(connection, mark)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        log.warning("The server did not say what became of a commit", exc_info=True)
        return Status.IN_PROGRESS
    finally:
        await _close(connection)
    return status


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _is_lost(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_lost(error.orig)
    return is_lost(error)
