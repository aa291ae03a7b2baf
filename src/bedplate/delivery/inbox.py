"""The table bedplate.inbox: messages that were not born here, each of which acts once.

A webhook's delivery, or an HTTP request with an Idempotency-Key: who, within which scope, and
which. The row is written in the transaction that the message acts in, so it is there exactly when
its effect is. A request's row keeps the answer, for a repeat. The sweeper forgets what has expired.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.rows.driver import AnyConnection, fetch
from bedplate.rows.layer_metadata import LAYER_METADATA, keep_to_tenant_or_nobody
from bedplate.rows.locks import NAMESPACE, lock_key

inbox = Table(
    "inbox",
    LAYER_METADATA,
    Column("consumer", Text, primary_key=True),
    Column("scope", Text, primary_key=True, server_default=text("''")),
    Column("message_id", Text, primary_key=True),
    Column("tenant", Text),
    Column("fingerprint", LargeBinary),
    Column("status", SmallInteger),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column(
        "expires_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("now() + interval '24 hours'"),
    ),
    CheckConstraint("char_length(message_id) BETWEEN 1 AND 255", name="message_id"),
    CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
    CheckConstraint("status BETWEEN 200 AND 399", name="status"),
    CheckConstraint("(status IS NULL) = (fingerprint IS NULL)", name="answer"),
    Index("ix_inbox_expires_at", "expires_at"),
)
keep_to_tenant_or_nobody(inbox)

LONGEST_ID = 255
# Clients repeat a request within minutes, senders of webhooks for days.
REQUEST_MEMORY = timedelta(hours=24)
MESSAGE_MEMORY = timedelta(days=30)
SWEEP_BATCH = 1000

# The lock is free unless the same message is being worked on. One statement: what was committed
# between its snapshot and the lock is not seen, and then the row's key fails at the end.
BEGIN = text("""
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(:namespace, :key) AS is_ours
)
SELECT turn.is_ours, known.fingerprint, known.status, known.headers::text, known.body
  FROM turn
  LEFT JOIN bedplate.inbox AS known
    ON known.consumer = :consumer
   AND known.scope = :scope
   AND known.message_id = :message_id
""")

KEEP = text("""
INSERT INTO bedplate.inbox
       (consumer, scope, message_id, tenant, fingerprint, status, headers, body, expires_at)
VALUES (:consumer, :scope, :message_id, :tenant, :fingerprint, :status,
        CAST(CAST(:headers AS text) AS jsonb), :body, now() + CAST(:memory AS interval))
""")

# Waits for another transaction that has the same message, and then sees whether it committed.
NOTE = text("""
INSERT INTO bedplate.inbox (consumer, scope, message_id, tenant, expires_at)
VALUES (:consumer, coalesce(CAST(:tenant AS text), ''), :message_id, :tenant,
        now() + CAST(:memory AS interval))
    ON CONFLICT DO NOTHING
RETURNING true
""")

SWEEP = text("""
WITH old AS MATERIALIZED (
    SELECT consumer, scope, message_id
      FROM bedplate.inbox
     WHERE expires_at <= now()
     ORDER BY expires_at
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
)
DELETE FROM bedplate.inbox AS known
 USING old
 WHERE known.consumer = old.consumer
   AND known.scope = old.scope
   AND known.message_id = old.message_id
RETURNING 1
""")


@dataclass(frozen=True, slots=True)
class Identified:
    """A request that carries a key: its route, whose it is, the key, what it says."""

    consumer: str
    scope: str
    message_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a request: `is_busy`, an answer, or one of another request."""

    is_busy: bool
    fingerprint: bytes | None
    answer: Answer | None


async def begin(session: AsyncSession, request: Identified) -> Known:
    """Take the request's turn in this transaction, and look whether it was answered before."""
    key = lock_key(f"inbox {request.consumer} {request.scope} {request.message_id}")
    rows = await fetch(
        session,
        BEGIN,
        namespace=NAMESPACE,
        key=key,
        consumer=request.consumer,
        scope=request.scope,
        message_id=request.message_id,
    )
    is_ours, fingerprint, status, headers, body = rows[0]
    answer = None if status is None else Answer(status, json.loads(headers), body)
    return Known(not is_ours and answer is None, fingerprint, answer)


async def keep(
    session: AsyncSession, request: Identified, answer: Answer, *, tenant: str | None
) -> None:
    """Write the answer, in the transaction of what it answers."""
    await session.execute(
        KEEP,
        {
            "consumer": request.consumer,
            "scope": request.scope,
            "message_id": request.message_id,
            "tenant": tenant,
            "fingerprint": request.fingerprint,
            "status": answer.status,
            "headers": json.dumps(dict(answer.headers)),
            "body": answer.body,
            "memory": REQUEST_MEMORY,
        },
    )


async def note(
    session: AsyncSession, consumer: str, message_id: str, *, tenant: str | None, memory: timedelta
) -> bool:
    """Write down a message that acts in this transaction; False when it has acted before."""
    rows = await session.execute(
        NOTE,
        {"consumer": consumer, "message_id": message_id, "tenant": tenant, "memory": memory},
    )
    return rows.one_or_none() is not None


async def sweep(connection: AnyConnection, limit: int = SWEEP_BATCH) -> int:
    """Forget messages whose time is over, as the owner. Returns how many."""
    return len(await fetch(connection, SWEEP, limit=limit))
