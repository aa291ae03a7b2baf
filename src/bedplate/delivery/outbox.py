"""The table bedplate.outbox: committed intentions to tell another server, without a result.

A message is written in the business transaction, acted on by the relay at least once, and
deleted then. `take` locks what it returns until the caller's transaction ends, so two relays
never act on one message at a time; a failure sets `not_before` and counts, and after
`MAX_ATTEMPTS` the message is dead: visible, and put back by `retry`.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from bedplate.cache.channels import Publication
from bedplate.cache.invalidation import Invalidation
from bedplate.rows.driver import AnyConnection, fetch
from bedplate.rows.ids import new_id
from bedplate.rows.layer_metadata import CHURN, LAYER_METADATA, LAYER_SCHEMA
from bedplate.rows.policies import Policy, declare_policy

outbox = Table(
    "outbox",
    LAYER_METADATA,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    Column("payload", JSONB),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("not_before", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("last_error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("dead_at", DateTime(timezone=True)),
    CheckConstraint("attempts >= 0", name="attempts"),
    CheckConstraint("dead_at IS NULL OR last_error IS NOT NULL", name="dead"),
    Index("ix_outbox_due", "not_before", "id", postgresql_where=text("dead_at IS NULL")),
    postgresql_with=CHURN,
)
# The application only ever adds one.
declare_policy(
    LAYER_METADATA,
    Policy("added", "outbox", check="true", command="INSERT", schema=LAYER_SCHEMA),
)

INVALIDATE = "cache.invalidate"
INVALIDATE_TAG = "cache.invalidate_tag"
PUBLISH = "channel.publish"

# A message that failed this often is dead: visible, and put back by `retry`.
MAX_ATTEMPTS = 20
LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message that is to be inserted."""

    id: UUID
    kind: str
    key: str
    payload: Mapping[str, Any] | None = None


class Message(NamedTuple):
    """A message that is to be acted on. `place`: where its row lies, while it is locked."""

    place: tuple[int, int]
    id: UUID
    kind: str
    key: str
    version: int
    payload: dict[str, Any] | None
    attempts: int
    not_before: datetime


# The version is the transaction's id: a reader that does not see it has old rows.
INSERT = text("""
INSERT INTO bedplate.outbox (id, kind, key, version, payload)
SELECT r.id, r.kind, r.key, CAST(CAST(pg_current_xact_id() AS text) AS bigint), r.payload
  FROM jsonb_to_recordset(CAST(:messages AS jsonb)) AS r
       (id uuid, kind text, key text, payload jsonb)
""")

# By lock and not by position: an id is taken before its commit, so "greater than the last seen"
# would miss those that commit late.
TAKE = text("""
SELECT ctid, id, kind, key, version, payload, attempts, not_before
  FROM bedplate.outbox
 WHERE dead_at IS NULL
   AND not_before <= now()
   AND not_before >= coalesce(CAST(:since AS timestamptz), '-infinity')
   AND NOT kind = ANY(CAST(:skipped AS text[]))
 ORDER BY not_before, id
 LIMIT :limit
   FOR UPDATE SKIP LOCKED
""")

IS_DUE = text("""
SELECT EXISTS (SELECT FROM bedplate.outbox
                WHERE dead_at IS NULL
                  AND not_before <= now()
                  AND not_before >= coalesce(CAST(:since AS timestamptz), '-infinity')
                  AND NOT kind = ANY(CAST(:skipped AS text[])))
""")

# By where the rows lie: what was taken is locked, so none of it can have moved since, and half of
# what it costs by the primary key is saved.
DELETE = text("""
DELETE FROM bedplate.outbox
 WHERE ctid = ANY(CAST(:places AS tid[]))
""")

PUT_BACK = text("""
UPDATE bedplate.outbox
   SET attempts = attempts + 1,
       not_before = now() + CAST(:backoff AS interval),
       last_error = :error,
       dead_at = CASE WHEN attempts + 1 >= :max_attempts THEN now() END
 WHERE id = ANY(CAST(:ids AS uuid[]))
   AND dead_at IS NULL
""")

RETRY = text("""
UPDATE bedplate.outbox
   SET attempts = 0,
       not_before = now(),
       dead_at = NULL
 WHERE id = ANY(CAST(:ids AS uuid[]))
   AND dead_at IS NOT NULL
RETURNING id
""")

# By hand: the other server is never told. What a relay holds is waited for, and is gone then.
DROP = text("""
DELETE FROM bedplate.outbox
 WHERE id = ANY(CAST(:ids AS uuid[]))
RETURNING id
""")

LAG = text("""
SELECT extract(epoch FROM clock_timestamp() - not_before)::double precision AS lag
  FROM bedplate.outbox
 WHERE dead_at IS NULL
   AND not_before <= clock_timestamp()
 ORDER BY not_before
 LIMIT 1
""")


async def insert(connection: AnyConnection, pending: Sequence[PendingMessage]) -> None:
    """Insert messages, in one statement."""
    await fetch(connection, INSERT, messages=encode(pending))


def encode(pending: Sequence[PendingMessage]) -> str:
    """Messages as the parameter of `INSERT`."""
    rows = [{name: getattr(each, name) for name in PendingMessage.__slots__} for each in pending]
    return json.dumps(rows, default=str)


async def take(
    connection: AnyConnection,
    limit: int,
    *,
    skipped: Collection[str] = (),
    since: datetime | None = None,
) -> list[Message]:
    """Up to `limit` due messages, oldest first, locked until the caller's transaction ends.

    `skipped`: kinds whose destination is in backoff. `since`: none that was due before, see
    `delivery.progress`. Act, then `delete` or `put_back`, commit.
    """
    rows = await fetch(connection, TAKE, limit=limit, skipped=list(skipped), since=since)
    return [
        Message(place, id_, kind, key, version, _decoded(payload), attempts, not_before)
        for place, id_, kind, key, version, payload, attempts, not_before in rows
    ]


async def is_due(
    connection: AnyConnection, *, skipped: Collection[str] = (), since: datetime | None = None
) -> bool:
    """Whether `take` would find anything: asked first, it saves an idle relay a transaction."""
    rows = await fetch(connection, IS_DUE, skipped=list(skipped), since=since)
    return bool(rows[0][0])


async def delete(connection: AnyConnection, taken: Iterable[Message]) -> None:
    """Remove messages that were acted on, in the transaction that took them."""
    await fetch(connection, DELETE, places=[message.place for message in taken])


async def put_back(
    connection: AnyConnection,
    message_ids: Iterable[UUID],
    *,
    error: str,
    backoff: timedelta,
    max_attempts: int = MAX_ATTEMPTS,
) -> None:
    """Acting failed: due again after `backoff`, or dead after the last attempt."""
    await fetch(
        connection,
        PUT_BACK,
        ids=list(message_ids),
        error=error.replace("\0", "")[:LONGEST_ERROR],
        backoff=backoff,
        max_attempts=max_attempts,
    )


async def retry(connection: AnyConnection, message_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Put dead messages back. Returns the ids of those that were."""
    rows = await fetch(connection, RETRY, ids=list(message_ids))
    return frozenset(row[0] for row in rows)


async def drop(connection: AnyConnection, message_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Delete messages that nobody shall act on any more. Returns the ids of those that were."""
    rows = await fetch(connection, DROP, ids=list(message_ids))
    return frozenset(row[0] for row in rows)


async def lag(connection: AnyConnection) -> timedelta | None:
    """How long the oldest message has been due; None when none is."""
    rows = await fetch(connection, LAG)
    return timedelta(seconds=rows[0][0]) if rows else None


def invalidations(messages: Iterable[Message | PendingMessage]) -> list[Invalidation]:
    """What these messages have the cache forget."""
    return [
        Invalidation(
            each.key,
            tenant=(each.payload or {}).get("tenant"),
            is_tag=each.kind == INVALIDATE_TAG,
            transaction=each.version if isinstance(each, Message) else 0,
        )
        for each in messages
        if each.kind in (INVALIDATE, INVALIDATE_TAG)
    ]


def publish(publication: Publication) -> PendingMessage:
    """The message that has a text said on a channel."""
    fields = {name: getattr(publication, name) for name in Publication.__slots__}
    return PendingMessage(new_id(), PUBLISH, fields.pop("channel"), fields)


def publications(messages: Iterable[Message | PendingMessage]) -> list[Publication]:
    """What these messages have said on channels."""
    return [
        Publication(each.key, **each.payload)
        for each in messages
        if each.kind == PUBLISH and each.payload is not None
    ]


def _decoded(payload: Any) -> Any:
    return json.loads(payload) if isinstance(payload, str) else payload
