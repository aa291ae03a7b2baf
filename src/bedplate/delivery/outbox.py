"""The table bedplate.outbox: committed intentions to tell another server, without a result.

A message is written in the business transaction, acted on by the relay at least once, and
deleted then. `take` locks what it returns until the caller's transaction ends, so two relays
never act on one message at a time; a failure sets `not_before` and counts, and after
`MAX_ATTEMPTS` the message is dead: visible, and put back by `retry`.
"""

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

from bedplate.rows.layer_metadata import CHURN, LAYER_METADATA

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
