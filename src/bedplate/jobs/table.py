"""The table bedplate.jobs: one row is one job, and the row *is* the job.

Which columns each state has, kept by the trigger (its function is of revision 0009):

    state      lease_until                        worker  finished_at
    ready      –                                  –       –
    sent       offered again when it runs out     –       –
    running    the worker's lease                 set     –
    succeeded  –                                  kept    set
    dead       –                                  kept    set
    cancelled  –                                  kept    set

    ready → sent → running → succeeded | dead | cancelled
    running → ready   retry with backoff, or the lease ran out
    sent → ready      the message was lost
    dead → ready      retry, by hand

The ledger (`jobs/ledger.py`) holds every statement that changes it.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from bedplate.rows.layer_metadata import (
    CHURN,
    LAYER_METADATA,
    keep_by_trigger,
    keep_to_tenant_or_nobody,
)


class JobState(StrEnum):
    """Where a job stands."""

    READY = "ready"
    SENT = "sent"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def is_live(self) -> bool:
        """Whether the job may still run."""
        return self in {JobState.READY, JobState.SENT, JobState.RUNNING}


_NOW = text("now()")
_TIME = DateTime(timezone=True)

jobs = Table(
    "jobs",
    LAYER_METADATA,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("task", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    Column("arguments", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("arguments_version", SmallInteger, nullable=False, server_default=text("1")),
    Column("dedup_key", Text),
    Column("group_key", Text),
    Column("tenant", Text),
    Column("actor", Text),
    Column("trace_context", JSONB),
    Column("state", Text, nullable=False, server_default=text("'ready'")),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("max_attempts", Integer, nullable=False, server_default=text("5")),
    Column("crashes", Integer, nullable=False, server_default=text("0")),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("run_at", _TIME, nullable=False, server_default=_NOW),
    Column("lease_until", _TIME),
    Column("worker", Text),
    Column("progress", SmallInteger, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("finished_at", _TIME),
    Index(
        "uq_jobs_tenant_dedup_key_live",
        "task",
        "dedup_key",
        "tenant",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("dedup_key IS NOT NULL AND state IN ('ready', 'sent', 'running')"),
    ),
    Index(
        "uq_jobs_group_key_running",
        "group_key",
        unique=True,
        postgresql_where=text("group_key IS NOT NULL AND state = 'running'"),
    ),
    Index(
        "ix_jobs_group_key_sent",
        "group_key",
        postgresql_where=text("group_key IS NOT NULL AND state = 'sent'"),
    ),
    Index(
        "ix_jobs_ready",
        "queue",
        text("priority DESC"),
        "run_at",
        "id",
        postgresql_where=text("state = 'ready'"),
    ),
    Index(
        "ix_jobs_leased",
        "lease_until",
        postgresql_where=text("state IN ('sent', 'running')"),
    ),
    Index("ix_jobs_dead", "id", postgresql_where=text("state = 'dead'")),
    postgresql_with=CHURN,
)
keep_to_tenant_or_nobody(jobs)
keep_by_trigger(jobs, "ck_jobs_row", "check_job")
