"""The table bedplate.stored_files: one row is one file, and names the object that holds its bytes.

Which columns each state has, kept by the CHECK constraints below:

    state      pending_until  committed_at  deleted_at  gone_at  size_bytes, sha256
    pending    set            –             –           –        where declared
    committed  –              set           –           –        set
    deleted    –              as it was     set         –        as they were
    gone       –              as it was     set         set      as they were

    pending → committed    in the business transaction
    committed → deleted    in the business transaction, or at `expires_at`
    pending → deleted      the upload took too long; such a row was never committed
    deleted → gone         the object is deleted: after the retention, or at once when the file
                           was never committed or has expired
    gone → (no row)        after a while, once the object was deleted again: a late upload may
                           have written it after all

`quarantined_objects` notes objects that no row names; they are deleted after a time in it.
`stored_files.py` holds every statement that changes either.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from bedplate.rows.layer_metadata import LAYER_METADATA, keep_to_tenant_or_nobody


class FileState(StrEnum):
    """Where a stored file stands."""

    PENDING = "pending"
    COMMITTED = "committed"
    DELETED = "deleted"
    GONE = "gone"


_NOW = text("now()")
_TIME = DateTime(timezone=True)

stored_files = Table(
    "stored_files",
    LAYER_METADATA,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("tenant", Text),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("size_bytes", BigInteger),
    Column("sha256", LargeBinary),
    Column("content_type", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=_NOW),
    Column("pending_until", _TIME),
    Column("committed_at", _TIME),
    Column("deleted_at", _TIME),
    Column("gone_at", _TIME),
    Column("expires_at", _TIME),
    # The name of a key is never used again, so neither is a row's.
    UniqueConstraint("bucket", "key"),
    CheckConstraint("state IN ('pending', 'committed', 'deleted', 'gone')", name="state"),
    CheckConstraint("(state = 'pending') = (pending_until IS NOT NULL)", name="pending"),
    CheckConstraint(
        "CASE state WHEN 'pending' THEN committed_at IS NULL"
        " WHEN 'committed' THEN committed_at IS NOT NULL ELSE true END",
        name="committed",
    ),
    CheckConstraint("(state IN ('deleted', 'gone')) = (deleted_at IS NOT NULL)", name="deleted"),
    CheckConstraint("(state = 'gone') = (gone_at IS NOT NULL)", name="gone"),
    CheckConstraint(
        "committed_at IS NULL OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL)", name="measured"
    ),
    CheckConstraint("size_bytes >= 0", name="size_bytes"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    CheckConstraint("char_length(file_name) BETWEEN 1 AND 255", name="file_name"),
    Index("ix_stored_files_pending", "pending_until", postgresql_where=text("state = 'pending'")),
    Index(
        "ix_stored_files_expiring",
        "expires_at",
        postgresql_where=text("state = 'committed' AND expires_at IS NOT NULL"),
    ),
    Index("ix_stored_files_deleted", "deleted_at", postgresql_where=text("state = 'deleted'")),
    Index("ix_stored_files_gone", "gone_at", postgresql_where=text("state = 'gone'")),
)
keep_to_tenant_or_nobody(stored_files)

quarantined_objects = Table(
    "quarantined_objects",
    LAYER_METADATA,
    Column("bucket", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("noticed_at", _TIME, nullable=False, server_default=_NOW),
    Index("ix_quarantined_objects_noticed_at", "noticed_at"),
)
