"""Base schema.

Users, documents with the passages that the search runs on, translations with their chunks.

Revision 0001, after nothing.
"""

import logging
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

log = logging.getLogger("alembic.runtime.migration")

WITH_UPDATED_AT = ("users", "documents", "translations")
UPDATED_AT = "update_updated_at_column"
UPDATED_AT_BODY = """
    BEGIN
        NEW.updated_at = clock_timestamp();
        RETURN NEW;
    END;
    """
# Whether CREATE EXTENSION would succeed must be asked first: its failure aborts the revision.
OFFERED = sa.text("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'uuid-ossp')")


def upgrade() -> None:
    """Create everything."""
    enable_uuid_ossp()
    create_users()
    create_documents()
    create_document_passages()
    create_translations()
    create_translation_chunks()
    op.create_function(UPDATED_AT, UPDATED_AT_BODY)
    for table in WITH_UPDATED_AT:
        op.create_trigger(f"{table}_updated_at", table, UPDATED_AT)


def downgrade() -> None:
    """Drop everything but the extension, which others in the database may use."""
    for table in WITH_UPDATED_AT:
        op.drop_trigger(f"{table}_updated_at", table, UPDATED_AT)
    op.drop_function(UPDATED_AT, UPDATED_AT_BODY)
    for table in (
        "translation_chunks",
        "translations",
        "document_passages",
        "documents",
        "users",
    ):
        op.drop_table(table)


def enable_uuid_ossp() -> None:
    """No id depends on it, so a server that offers it nowhere is warned about, and that is all."""
    if context.is_offline_mode() or op.get_bind().execute(OFFERED).scalar_one():
        op.execute('CREATE EXTENSION IF NOT EXISTS "uuid-ossp"')
    else:
        log.warning("the server does not offer the extension uuid-ossp; going on without it")


def create_users() -> None:
    """Signed-in readers."""
    op.create_table(
        "users",
        id_column(),
        sa.Column("email", sa.String(255), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )


def create_documents() -> None:
    """Uploaded texts."""
    op.create_table(
        "documents",
        id_column(),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("file_name", sa.String(255), nullable=False),
        sa.Column("file_size", sa.Integer(), nullable=False),
        sa.Column("source_language", sa.String(10), nullable=False),
        *owner("documents"),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.CheckConstraint("file_size BETWEEN 0 AND 10485760", name=op.f("ck_documents_file_size")),
    )
    op.create_index("ix_documents_created_at", "documents", ["created_at"])
    op.create_index(
        "ix_documents_session_id_created_at_id", "documents", ["session_id", "created_at", "id"]
    )
    op.create_index(
        "ix_documents_user_id_created_at_id", "documents", ["user_id", "created_at", "id"]
    )


def create_document_passages() -> None:
    """What the search runs on."""
    op.create_table(
        "document_passages",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("config", postgresql.REGCONFIG(), nullable=False),
        sa.Column(
            "tsv",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector(config, text)", persisted=True),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("document_id", "index", name="pk_document_passages"),
        parent("document_passages", "document_id", "documents"),
        sa.CheckConstraint("index >= 0", name=op.f("ck_document_passages_index")),
        sa.CheckConstraint(
            "octet_length(text) <= 8192", name=op.f("ck_document_passages_text_size")
        ),
    )
    op.create_index(
        "ix_document_passages_tsv",
        "document_passages",
        ["tsv"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_index("ix_document_passages_config", "document_passages", ["config"])


def create_translations() -> None:
    """Documents in other languages."""
    op.create_table(
        "translations",
        id_column(),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("target_language", sa.String(10), nullable=False),
        sa.Column("translated_content", sa.Text(), nullable=True),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("progress_percentage", sa.Integer(), server_default="0", nullable=False),
        sa.Column("translation_state", postgresql.JSONB(), nullable=True),
        *owner("translations"),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_translations"),
        sa.UniqueConstraint(
            "document_id", "target_language", name="unique_document_target_language"
        ),
        parent("translations", "document_id", "documents"),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'failed')",
            name=op.f("ck_translations_status"),
        ),
        sa.CheckConstraint(
            "progress_percentage BETWEEN 0 AND 100",
            name=op.f("ck_translations_progress_percentage"),
        ),
    )
    for column in ("user_id", "session_id", "status", "created_at"):
        op.create_index(f"ix_translations_{column}", "translations", [column])


def create_translation_chunks() -> None:
    """What a translation's job has committed."""
    op.create_table(
        "translation_chunks",
        sa.Column("translation_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("source_start", sa.Integer(), nullable=False),
        sa.Column("source_end", sa.Integer(), nullable=False),
        sa.Column("translated_text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("translation_id", "index", name="pk_translation_chunks"),
        parent("translation_chunks", "translation_id", "translations"),
        sa.CheckConstraint("index >= 0", name=op.f("ck_translation_chunks_index")),
        sa.CheckConstraint(
            "source_start >= 0 AND source_end > source_start",
            name=op.f("ck_translation_chunks_source"),
        ),
    )


def id_column() -> sa.Column[object]:
    """A UUID that SQL can make too."""
    return sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False)


def timestamps() -> list[sa.Column[object]]:
    """`created_at` and `updated_at`, with time zone."""
    return [
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    ]


def owner(table: str) -> list[sa.schema.SchemaItem]:
    """A user or a session, and not nobody."""
    return [
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.String(255), nullable=True),
        parent(table, "user_id", "users"),
        sa.CheckConstraint(
            "user_id IS NOT NULL OR session_id IS NOT NULL", name=op.f(f"ck_{table}_owner")
        ),
    ]


def parent(table: str, column: str, referred: str) -> sa.ForeignKeyConstraint:
    """A foreign key whose rows go with the row that they belong to."""
    return sa.ForeignKeyConstraint(
        [column], [f"{referred}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE"
    )
