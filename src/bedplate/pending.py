"""What waits in a unit of work for its COMMIT, written in one statement whatever there is of it.

The same round trip brings the transaction's number, by which the server is asked when the answer
to COMMIT is lost; a transaction without jobs and messages that wrote rows asks for it alone.
Called by `unit_of_work.py`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.delivery import outbox
from bedplate.jobs import ledger, statements
from bedplate.rows.driver import fetch
from bedplate.rows.transaction_id import ASSIGN, ASSIGNED, NUMBER_ONLY, Mark


async def write(
    session: AsyncSession,
    jobs: Sequence[ledger.PendingJob],
    messages: Sequence[outbox.PendingMessage],
    *,
    tells_log: bool,
) -> Mark | None:
    """Insert jobs and messages, at least one of either. Returns the transaction's mark."""
    values: dict[str, Any] = {}
    parts = []
    if len(jobs) == 1:
        parts.append("job" if jobs[0].dedup_key is None else "job_once")
        values |= ledger.encode_one(jobs[0])
    elif jobs:
        parts.append("jobs")
        values["jobs"] = ledger.encode(jobs)
    if messages:
        parts.append("messages")
        values["messages"] = outbox.encode(messages)
    statement = _insert(tuple(parts), ASSIGN if tells_log else NUMBER_ONLY)
    return Mark.read((await fetch(session, statement, **values))[0][0])


async def read_mark(session: AsyncSession, *, will_write: bool, tells_log: bool) -> Mark | None:
    """The transaction's mark, for one round trip; None when nothing was written after all.

    `will_write`: something is written between this and the COMMIT, so it needs a number now.
    """
    mark = NUMBER_ONLY
    if tells_log:
        mark = ASSIGN if will_write else ASSIGNED
    return Mark.read((await fetch(session, _select(mark)))[0][0])


_INSERTS = {
    "job": statements.INSERT_ONE.text,
    "job_once": statements.INSERT_ONE_ONCE.text,
    "jobs": statements.INSERT.text,
    "messages": outbox.INSERT.text,
}


# All of it constants, put together once: the rooms' own INSERTs side by side.
@cache
def _insert(parts: tuple[str, ...], mark: str) -> TextClause:
    inserts = ", ".join(f"{part} AS ({_INSERTS[part]})" for part in parts)
    return text(f"WITH {inserts} SELECT {mark}")


@cache
def _select(mark: str) -> TextClause:
    return text(f"SELECT {mark}")
