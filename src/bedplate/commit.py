"""The COMMIT: the critical section of a transaction, whose outcome is the server's.

Called by `transaction.py`, in a task of its own that no cancellation reaches.
"""

import asyncio
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import DatabaseUnreachableError
from bedplate.failpoints import failpoint
from bedplate.transaction_end import close_session, discard

# COMMIT cannot be cancelled, so it must end by itself when the server is gone.
COMMIT_TIMEOUT = timedelta(seconds=30)


async def commit(session: AsyncSession) -> None:
    """Commit, and give the connection back. Raises what the server says of it."""
    limit = asyncio.timeout(COMMIT_TIMEOUT.total_seconds())
    try:
        failpoint("tx.before_commit")
        async with limit:
            await session.commit()
    except BaseException as error:
        await discard(session)
        if limit.expired():
            raise _unanswered() from error
        raise
    failpoint("tx.after_commit")
    await close_session(session)


def _unanswered() -> DatabaseUnreachableError:
    return DatabaseUnreachableError(
        f"PostgreSQL did not answer COMMIT within {COMMIT_TIMEOUT.total_seconds():g} s",
        hint="Whether it was committed is not known: read before doing it again.",
        reason="commit_unanswered",
    )
