"""The sweeper: gives back to the relay what its deadline says is nobody's any more.

A running job whose worker went silent is offered again, or buried after too many crashes. A sent
job whose message seems lost is sent again; but while its queue in the broker is as long as the
ledger says it should be, nothing was lost, the workers are busy, and a second message would only
lengthen the queue. Called by every relay each second; any number may.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from bedplate.delivery import inbox
from bedplate.delivery.broker import Broker
from bedplate.errors import RedisUnreachableError
from bedplate.jobs import ledger
from bedplate.rows.driver import AnyConnection, fetch

log = logging.getLogger("bedplate.delivery.sweeper")

BATCH = 200

# By the partial index over what is leased: as many rows as the windows of all queues allow.
OUTSTANDING = text("""
SELECT queue,
       count(*) AS sent,
       count(*) FILTER (WHERE lease_until <= now()) AS overdue
  FROM bedplate.jobs
 WHERE state = 'sent'
 GROUP BY queue
""")

WAIT_LONGER = text("""
UPDATE bedplate.jobs
   SET lease_until = now() + CAST(:deadline AS interval)
 WHERE state = 'sent'
   AND lease_until <= now()
   AND queue = ANY(CAST(:queues AS text[]))
""")


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep found: sent jobs per queue, and how many jobs were offered again."""

    outstanding: dict[str, int]
    rescued: int


async def sweep(
    connection: AnyConnection, broker: Broker | None, system: str, *, deadline: timedelta
) -> Swept:
    """One pass over the deadlines of a system's jobs. `connection` is the owner's, one transaction
    a statement.

    Needs no broker: without it, or with it down, overdue jobs are simply ready again.
    """
    rows = await fetch(connection, OUTSTANDING)
    busy = [
        queue
        for queue, sent, overdue in rows
        if overdue and broker is not None and await _is_whole(broker, system, queue, sent)
    ]
    if busy:
        await fetch(connection, WAIT_LONGER, queues=busy, deadline=deadline)
    rescued = await _rescue(connection)
    await inbox.sweep(connection)
    return Swept({queue: sent for queue, sent, _ in rows}, rescued)


async def count_outstanding(connection: AnyConnection) -> dict[str, int]:
    """How many jobs are sent and not yet claimed, by queue."""
    return {queue: sent for queue, sent, _ in await fetch(connection, OUTSTANDING)}


async def _is_whole(broker: Broker, system: str, queue: str, sent: int) -> bool:
    try:
        return await broker.waiting(system, queue) >= sent
    except RedisUnreachableError:
        return False


async def _rescue(connection: AnyConnection) -> int:
    count = 0
    while True:
        batch = await ledger.rescue_expired(connection, BATCH)
        for each in batch:
            if each.is_crash:
                log.warning(
                    "A worker went silent; its job is offered again or dead",
                    extra={"job_id": str(each.id), "state": each.state},
                )
        count += len(batch)
        if len(batch) < BATCH:
            return count
