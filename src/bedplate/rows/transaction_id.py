"""The number that PostgreSQL gave a transaction, and what became of it.

A transaction that wrote has a number (xid8); asked by it on another connection, the server says
whether it was committed. With care: after a crash the server gives numbers anew whose transactions
had not reached its disk, and so does a replica that was promoted; "committed" is then said of
somebody else. So the number is read together with the log's timeline and with the time since when
the server counts: a recovery begins both counting and numbers anew. Where the log was would not
do: of two recoveries the second ends behind what the first had lost. Called by `unit_of_work.py`
and `commit.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import asyncpg

# The counters of the background writer are the server's own: a clean stop keeps them, a crash does
# not, whether it took the whole server or one backend.
LINEAGE = """left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || ' ' ||
          extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())"""
# Text, so that one column holds it all.
MARK = f"concat_ws(' ', {{number}}, {LINEAGE})"
# Gives the transaction a number if it has none.
ASSIGN = MARK.format(number="pg_current_xact_id()")
# The number is left out as long as nothing was written.
ASSIGNED = MARK.format(number="pg_current_xact_id_if_assigned()")
# Where the server does not tell the rest.
NUMBER_ONLY = "CAST(pg_current_xact_id() AS text)"

READ_STATUS = """
SELECT pg_is_in_recovery() AS is_replica,
       pg_xact_status(CAST(CAST($1 AS text) AS xid8)) AS status
"""

READ_LINEAGE = f"SELECT {LINEAGE}"

# As the login role: the application's may not end a connection of its own user.
AS_LOGIN_ROLE = "SET ROLE NONE"
# It waits for a statement that will never come. One that is at its COMMIT is left alone.
END_WAITING = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE backend_xid = CAST(CAST(CAST($1 AS text) AS xid8) AS xid)
   AND state LIKE 'idle in transaction%'
"""


class Status(StrEnum):
    """What the server says of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_PROGRESS = "in progress"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Mark:
    """A transaction's number, and the lineage of numbers that it is of, if the server tells it."""

    xid: str
    lineage: str | None = None

    @classmethod
    def read(cls, mark: str) -> Self | None:
        """What `ASSIGN` or `ASSIGNED` returned; None when there was no number."""
        parts = mark.split()
        if len(parts) == 1:
            return cls(parts[0])
        return cls(parts[0], " ".join(parts[1:])) if len(parts) == 3 else None


async def read_status(connection: asyncpg.Connection, mark: Mark) -> Status:
    """What became of the transaction."""
    try:
        found = await connection.fetchrow(READ_STATUS, mark.xid)
    except asyncpg.InvalidParameterValueError:
        # "In the future": this server has not given that number.
        return Status.UNKNOWN
    if found["is_replica"]:
        # Not promoted yet: what it has not replayed it would call aborted.
        return Status.IN_PROGRESS
    status = Status(found["status"] or Status.UNKNOWN)
    if status is Status.COMMITTED and not await _is_same(connection, mark):
        return Status.UNKNOWN
    return status


async def _is_same(connection: asyncpg.Connection, mark: Mark) -> bool:
    """Whether the number cannot have been given a second time."""
    return mark.lineage is not None and mark.lineage == await connection.fetchval(READ_LINEAGE)


async def end_waiting(connection: asyncpg.Connection, mark: Mark) -> None:
    """End the connection that holds the transaction and waits for its client."""
    await connection.execute(AS_LOGIN_ROLE)
    await connection.fetch(END_WAITING, mark.xid)
