"""Locks on names, held until the end of the transaction.

Only transaction locks: behind a transaction pooler a session's lock would stay on a server
connection that others get. All are in one namespace, `classid` in pg_locks, so that a person can
see who holds what; two names may share a key, which costs a wait and nothing else.
"""

import hashlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# "bedp" in ASCII.
NAMESPACE = 0x62656470

LOCK = text("SELECT pg_advisory_xact_lock(:namespace, :key)")
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:namespace, :key)")


async def lock(session: AsyncSession, *names: str) -> None:
    """Wait for the locks on these names.

    They are taken in one order whatever the order of the names, so that two callers of the same
    names cannot deadlock; take all at once.
    """
    for key in sorted({lock_key(name) for name in names}):
        await session.execute(LOCK, {"namespace": NAMESPACE, "key": key})


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take the lock on this name if it is free; whether it was."""
    taken = await session.scalar(TRY_LOCK, {"namespace": NAMESPACE, "key": lock_key(name)})
    return bool(taken)


def lock_key(name: str) -> int:
    """The 32-bit key (`objid` in pg_locks) of a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
