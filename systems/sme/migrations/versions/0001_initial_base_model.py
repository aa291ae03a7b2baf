"""initial_base_model.

The extension vector; evidence and its passages, both on the base model: `id`, `created_at`,
`updated_at` and `deleted_at`.

Revision 0001, after nothing.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from bedplate.rows.vectors import Vector

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("evidence", "passages")

UPDATED_AT = """
    BEGIN
        NEW.updated_at = clock_timestamp();
        RETURN NEW;
    END;
"""
REFUSE_DELETE = """
    BEGIN
        IF OLD.deleted_at IS NULL
           AND coalesce(current_setting('bedplate.hard_delete', true), '') <> 'on' THEN
            RAISE EXCEPTION 'a row of % that is not deleted by its deleted_at is not removed',
                TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation',
                      HINT = 'SET deleted_at, or SET LOCAL bedplate.hard_delete = ''on''';
        END IF;
        RETURN OLD;
    END;
"""
DELETE_PASSAGES = """
    BEGIN
        IF NEW.deleted_at IS DISTINCT FROM OLD.deleted_at THEN
            UPDATE "passages"
               SET deleted_at = NEW.deleted_at
             WHERE "evidence_id" = NEW."id"
               AND deleted_at IS NOT DISTINCT FROM OLD.deleted_at;
        END IF;
        RETURN NULL;
    END;
"""
FOLLOW_EVIDENCE = """
    BEGIN
        IF NEW.deleted_at IS NULL THEN
            SELECT deleted_at INTO NEW.deleted_at
              FROM "evidence"
             WHERE "id" = NEW."evidence_id"
               FOR SHARE;
        END IF;
        RETURN NEW;
    END;
"""
FUNCTIONS = {
    "update_updated_at_column": UPDATED_AT,
    "refuse_delete_of_present_row": REFUSE_DELETE,
    "delete_passages_with_evidence": DELETE_PASSAGES,
    "delete_passages_of_deleted_evidence": FOLLOW_EVIDENCE,
}
# Name, table, function, and when it fires.
TRIGGERS = (
    *((f"{table}_updated_at", table, "update_updated_at_column", "UPDATE") for table in TABLES),
    *(
        (f"{table}_refuse_delete", table, "refuse_delete_of_present_row", "DELETE")
        for table in TABLES
    ),
)
CASCADES = (
    (
        "evidence_delete_passages",
        "evidence",
        "delete_passages_with_evidence",
        "AFTER UPDATE OF deleted_at",
    ),
    (
        "passages_follow_evidence",
        "passages",
        "delete_passages_of_deleted_evidence",
        "BEFORE INSERT OR UPDATE OF deleted_at",
    ),
)


def upgrade() -> None:
    """Create everything."""
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    create_evidence()
    create_passages()
    for name, body in FUNCTIONS.items():
        op.create_function(name, body)
    for name, table, function, event in TRIGGERS:
        op.create_trigger(name, table, function, event=f"BEFORE {event}")
    for name, table, function, event in CASCADES:
        op.create_trigger(name, table, function, event=event)


def downgrade() -> None:
    """Drop everything but the extension, which others in the database may use."""
    for name, table, function, event in reversed(CASCADES):
        op.drop_trigger(name, table, function, event=event)
    for name, table, function, event in reversed(TRIGGERS):
        op.drop_trigger(name, table, function, event=f"BEFORE {event}")
    for name, body in reversed(FUNCTIONS.items()):
        op.drop_function(name, body)
    for table in reversed(TABLES):
        op.drop_table(table)


def create_evidence() -> None:
    """Texts and PDFs, as they were added."""
    op.create_table(
        "evidence",
        id_column(),
        sa.Column("title", sa.String(500), nullable=False),
        sa.Column("source", sa.String(255), nullable=True),
        sa.Column(
            "tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("passage_count", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_evidence"),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["bedplate.stored_files.id"],
            name="fk_evidence_file_id",
            ondelete="SET NULL",
        ),
        *checks(
            "evidence",
            content_hash="octet_length(content_hash) = 32",
            size_bytes="size_bytes >= 0",
            status="status IN ('pending', 'ingesting', 'ready', 'failed')",
            passage_count="passage_count >= 0",
        ),
    )
    op.create_index(
        "uq_evidence_content_hash",
        "evidence",
        ["content_hash"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("ix_evidence_created_at_id", "evidence", ["created_at", "id"])
    op.create_index("ix_evidence_source", "evidence", ["source"])
    op.create_index("ix_evidence_tags", "evidence", ["tags"], postgresql_using="gin")
    op.create_index("ix_evidence_observed_at", "evidence", ["observed_at"])
    create_index_of_values("evidence", "file_id")
    create_index_of_values("evidence", "deleted_at")


def create_passages() -> None:
    """What is searched, by words and by meaning."""
    op.create_table(
        "passages",
        id_column(),
        sa.Column("evidence_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("config", postgresql.REGCONFIG(), nullable=False),
        sa.Column(
            "tsv",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector(config, text)", persisted=True),
            nullable=False,
        ),
        sa.Column("embedding", Vector(384), nullable=True),
        sa.Column("embedding_model", sa.String(100), nullable=True),
        sa.Column(
            "embedding_dimensions",
            sa.Integer(),
            sa.Computed("vector_dims(embedding)", persisted=True),
            nullable=True,
        ),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_passages"),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name="fk_passages_evidence_id", ondelete="CASCADE"
        ),
        *checks(
            "passages",
            position="position >= 0",
            page="page > 0",
            place='start >= 0 AND "end" > start',
            embedding_model="(embedding IS NULL) = (embedding_model IS NULL)",
        ),
    )
    op.create_index(
        "uq_passages_evidence_id_position", "passages", ["evidence_id", "position"], unique=True
    )
    op.create_index(
        "ix_passages_tsv",
        "passages",
        ["tsv"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_index("ix_passages_config", "passages", ["config"])
    op.execute(
        "CREATE INDEX ix_passages_embedding ON passages"
        " USING hnsw (CAST(embedding AS halfvec(384)) halfvec_cosine_ops)"
        " WITH (m = 24, ef_construction = 128)"
        " WHERE deleted_at IS NULL"
    )
    create_index_of_values("passages", "deleted_at")


def id_column() -> sa.Column[object]:
    """A UUID that SQL can make too."""
    return sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False)


def timestamps() -> list[sa.Column[object]]:
    """`created_at` and `updated_at`, and `deleted_at`, which is null while the row is present."""
    made: list[sa.Column[object]] = [
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    ]
    return [*made, sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True)]


def checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    """CHECK constraints by their names."""
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def create_index_of_values(table: str, column: str) -> None:
    """An index of the few rows that have a value there."""
    op.create_index(
        f"ix_{table}_{column}",
        table,
        [column],
        postgresql_where=sa.text(f"{column} IS NOT NULL"),
    )
