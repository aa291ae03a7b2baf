"""What `bedplate outbox` does: looks, puts back, drops, in batches of bounded size.

Imports SQLAlchemy: only commands that do the work import this. Called by `commands/outbox.py`.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from sqlalchemy import text

from bedplate.cli import owner
from bedplate.cli.owner import changing, reading
from bedplate.delivery import listing, outbox
from bedplate.delivery.wakeup import NOTIFY
from bedplate.layer import DataLayer

BATCH = 1000


def opened(system: str, variables: Mapping[str, str]) -> AbstractAsyncContextManager[DataLayer]:
    """A layer that works as the owner. Raises `PendingMigrationError`."""
    return owner.opened(system, variables, table="outbox", what="messages")


async def load_page(
    system: str,
    variables: Mapping[str, str],
    *,
    is_dead: bool | None,
    kind: str | None,
    below: UUID | None,
    limit: int,
) -> tuple[list[Mapping[str, Any]], UUID | None]:
    """A page of messages, and what the next one is below, if there is one."""
    async with opened(system, variables) as layer, reading(layer) as connection:
        found = await listing.page(
            connection, is_dead=is_dead, kind=kind, below=below, limit=limit + 1
        )
    page = found[:limit]
    return page, page[-1]["id"] if len(found) > limit else None


async def load_one(
    system: str, variables: Mapping[str, str], message_id: UUID
) -> Mapping[str, Any]:
    """Every column of one message. Raises `NotFoundError`."""
    async with opened(system, variables) as layer, reading(layer) as connection:
        return await listing.load_whole(connection, message_id)


async def count_dead(layer: DataLayer, kind: str | None) -> int:
    """How many messages are dead."""
    async with reading(layer) as connection:
        return await listing.count_dead(connection, kind)


async def change(layer: DataLayer, deed: str, message_ids: Iterable[UUID]) -> int:
    """Put these back (`retry`), or delete them (`drop`). Returns how many there were."""
    async with changing(layer) as connection:
        if deed == "drop":
            return len(await outbox.drop(connection, message_ids))
        done = len(await outbox.retry(connection, message_ids))
    if done:
        async with changing(layer) as connection:
            await connection.execute(text(NOTIFY))
    return done


async def change_dead(layer: DataLayer, deed: str, kind: str | None) -> int:
    """The same with all dead ones of a kind. Those that die meanwhile may be among them."""
    done = 0
    while True:
        async with reading(layer) as connection:
            found = await listing.dead_ids(connection, kind, BATCH)
        changed = await change(layer, deed, found) if found else 0
        if not changed:
            return done
        done += changed
