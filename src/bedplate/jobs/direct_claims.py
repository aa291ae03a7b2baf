"""How a direct worker comes to its jobs: from the table itself, many at a time, past any broker.

It says in bedplate.direct_queues which queues it serves, with a lease; while that holds, relays
send nothing of these queues. Both kinds of worker may run at once: whoever claims a job has it.
All of it runs as the schema's owner. Called by `direct.py`; the relay reads `SERVED`.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta

import asyncpg
from sqlalchemy import Column, DateTime, Table, Text, text

from bedplate.jobs.leases import Claim, claim_of
from bedplate.jobs.ledger import Lane
from bedplate.rows.driver import AnyConnection, DriverConnection, fetch
from bedplate.rows.layer_metadata import LAYER_METADATA

direct_queues = Table(
    "direct_queues",
    LAYER_METADATA,
    Column("worker", Text, primary_key=True),
    Column("queue", Text, primary_key=True),
    Column("lease_until", DateTime(timezone=True), nullable=False),
)

# Another worker may have taken a job of the same group between our look and our claim.
CLAIM_TRIES = 3

# As the relay's TAKE_READY, but to running at once. The advisory lock lets one worker at a time
# look at a group: two that each take another job of it would both be refused by the unique index.
CLAIM_READY = text("""
WITH due AS MATERIALIZED (
    SELECT job.id, job.group_key, job.priority, job.run_at
      FROM unnest(CAST(:queues AS text[]), CAST(:priorities AS smallint[]))
             AS lane (queue, priority)
     CROSS JOIN LATERAL (
         SELECT ready.id, ready.group_key, ready.priority, ready.run_at
           FROM bedplate.jobs AS ready
          WHERE ready.state = 'ready'
            AND ready.queue = lane.queue
            AND ready.priority = lane.priority
            AND ready.run_at <= now()
            AND (ready.group_key IS NULL
                 OR (NOT EXISTS (SELECT FROM bedplate.jobs AS busy
                                  WHERE busy.group_key = ready.group_key
                                    AND busy.state = 'running')
                     AND pg_try_advisory_xact_lock(hashtextextended(ready.group_key, 7101))))
          ORDER BY ready.run_at, ready.id
          LIMIT :limit
            FOR UPDATE OF ready SKIP LOCKED
     ) AS job
     ORDER BY job.priority DESC, job.run_at, job.id
     LIMIT :limit
), first AS (
    SELECT DISTINCT ON (coalesce('g' || due.group_key, due.id::text)) due.id
      FROM due
     ORDER BY coalesce('g' || due.group_key, due.id::text), due.priority DESC, due.run_at, due.id
)
UPDATE bedplate.jobs AS job
   SET state = 'running',
       fence = job.fence + 1,
       attempt = job.attempt + 1,
       worker = :worker,
       lease_until = clock_timestamp() + CAST(:lease AS interval)
  FROM first
 WHERE job.id = first.id
   AND job.state = 'ready'
RETURNING job.id, job.task, job.queue, job.arguments, job.arguments_version, job.attempt,
          job.max_attempts, job.fence, job.group_key, job.tenant, job.actor,
          job.trace_context
""")

SERVE = text("""
INSERT INTO bedplate.direct_queues (worker, queue, lease_until)
SELECT :worker, served.queue, clock_timestamp() + CAST(:lease AS interval)
  FROM unnest(CAST(:queues AS text[])) AS served (queue)
    ON CONFLICT (worker, queue) DO UPDATE SET lease_until = excluded.lease_until
""")

# What a relay sent before it knew: nobody may be there to take the message.
TAKE_BACK_SENT = text("""
WITH sent AS MATERIALIZED (
    SELECT id
      FROM bedplate.jobs
     WHERE state = 'sent'
       AND queue = ANY(CAST(:queues AS text[]))
       FOR UPDATE SKIP LOCKED
)
UPDATE bedplate.jobs AS job
   SET state = 'ready',
       lease_until = NULL
  FROM sent
 WHERE job.id = sent.id
   AND job.state = 'sent'
RETURNING job.id
""")

LEAVE = text("""
DELETE FROM bedplate.direct_queues
 WHERE worker = :worker OR lease_until <= clock_timestamp()
""")

SERVED = text("""
SELECT DISTINCT queue
  FROM bedplate.direct_queues
 WHERE lease_until > clock_timestamp()
""")


async def claim_ready(
    connection: DriverConnection,
    lanes: Collection[Lane],
    worker: str,
    lease: timedelta,
    *,
    limit: int,
) -> list[Claim]:
    """Take up to `limit` due jobs of these lanes, by priority, then oldest first.

    None, although some are due: others take jobs of the same groups just now; ask again later.
    """
    queues, priorities = [lane.queue for lane in lanes], [lane.priority for lane in lanes]
    for _ in range(CLAIM_TRIES if lanes else 0):
        try:
            rows = await connection.fetch(
                CLAIM_READY,
                queues=queues,
                priorities=priorities,
                worker=worker,
                lease=lease,
                limit=limit,
            )
        except asyncpg.UniqueViolationError:
            continue
        return [claim_of(dict(row), row["id"]) for row in rows]
    return []


async def serve(
    connection: AnyConnection, queues: Sequence[str], worker: str, lease: timedelta
) -> int:
    """Say for `lease` that this worker serves the queues. Returns how many sent jobs came back."""
    await fetch(connection, SERVE, queues=list(queues), worker=worker, lease=lease)
    return len(await fetch(connection, TAKE_BACK_SENT, queues=list(queues)))


async def leave(connection: AnyConnection, worker: str) -> None:
    """Say that this worker serves nothing any more; what dead ones said goes with it."""
    await fetch(connection, LEAVE, worker=worker)


async def served_directly(connection: AnyConnection) -> frozenset[str]:
    """The queues that direct workers serve now: no message is to be sent for them."""
    return frozenset(row[0] for row in await fetch(connection, SERVED))
