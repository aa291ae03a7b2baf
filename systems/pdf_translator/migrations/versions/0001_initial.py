"""Users, translations with their blocks, and the glossary.

Revision 0001, after nothing.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

WITH_UPDATED_AT = ("users", "translations", "glossary")
UPDATED_AT = "update_updated_at_column"
UPDATED_AT_BODY = """
    BEGIN
        NEW.updated_at = clock_timestamp();
        RETURN NEW;
    END;
    """


def upgrade() -> None:
    """Create everything."""
    create_users()
    create_translations()
    create_document_blocks()
    create_glossary()
    op.create_function(UPDATED_AT, UPDATED_AT_BODY)
    for table in WITH_UPDATED_AT:
        op.create_trigger(f"{table}_updated_at", table, UPDATED_AT)


def downgrade() -> None:
    """Drop everything. The stored files stay, and the layer's sweeper takes them in their time."""
    for table in WITH_UPDATED_AT:
        op.drop_trigger(f"{table}_updated_at", table, UPDATED_AT)
    op.drop_function(UPDATED_AT, UPDATED_AT_BODY)
    for table in ("glossary", "document_blocks", "translations", "users"):
        op.drop_table(table)


def create_users() -> None:
    """Who signs in with Google."""
    op.create_table(
        "users",
        id_column(),
        sa.Column("google_id", sa.String(255), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("google_id", name="uq_users_google_id"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )


def create_translations() -> None:
    """PDFs in other languages."""
    op.create_table(
        "translations",
        id_column(),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("progress", sa.Integer(), server_default="0", nullable=False),
        sa.Column("original_path", sa.String(1024), nullable=False),
        sa.Column("translated_path", sa.String(1024), nullable=True),
        sa.Column("original_file_id", sa.Uuid(), nullable=True),
        sa.Column("translated_file_id", sa.Uuid(), nullable=True),
        sa.Column("file_name", sa.String(255), nullable=False),
        sa.Column("file_size", sa.Integer(), nullable=False),
        sa.Column("page_count", sa.Integer(), nullable=True),
        sa.Column("source_language", sa.String(10), nullable=False),
        sa.Column("target_language", sa.String(10), nullable=False),
        sa.Column("engine", sa.String(40), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now() + interval '86400 seconds'"),
            nullable=False,
        ),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_translations"),
        parent("translations", "user_id", "users"),
        stored_file("translations", "original_file_id"),
        stored_file("translations", "translated_file_id"),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'failed', 'expired')",
            name=op.f("ck_translations_status"),
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_translations_progress")),
        sa.CheckConstraint("page_count > 0", name=op.f("ck_translations_page_count")),
        sa.CheckConstraint("file_size >= 0", name=op.f("ck_translations_file_size")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_translations_expires_at")),
        sa.CheckConstraint(
            "CASE status WHEN 'completed' THEN translated_path IS NOT NULL AND progress = 100"
            " WHEN 'expired' THEN true ELSE translated_path IS NULL END",
            name=op.f("ck_translations_translated_path"),
        ),
    )
    op.create_index(
        "ix_translations_user_id_created_at_id", "translations", ["user_id", "created_at", "id"]
    )
    for column in ("status", "created_at"):
        op.create_index(f"ix_translations_{column}", "translations", [column])
    op.create_index(
        "ix_translations_expires_at",
        "translations",
        ["expires_at"],
        postgresql_where=sa.text("status <> 'expired'"),
    )
    for column in ("original_file_id", "translated_file_id"):
        op.create_index(
            f"ix_translations_{column}",
            "translations",
            [column],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )


def create_document_blocks() -> None:
    """What is translated as one, and where it stands."""
    op.create_table(
        "document_blocks",
        id_column(),
        sa.Column("translation_id", sa.Uuid(), nullable=False),
        sa.Column("page_num", sa.Integer(), nullable=False),
        sa.Column("block_num", sa.Integer(), nullable=False),
        sa.Column("original_text", sa.Text(), nullable=False),
        sa.Column("translated_text", sa.Text(), nullable=True),
        sa.Column("coordinates", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_document_blocks"),
        sa.UniqueConstraint(
            "translation_id",
            "page_num",
            "block_num",
            name="uq_document_blocks_translation_id_page_num_block_num",
        ),
        parent("document_blocks", "translation_id", "translations"),
        sa.CheckConstraint("page_num >= 1", name=op.f("ck_document_blocks_page_num")),
        sa.CheckConstraint("block_num >= 1", name=op.f("ck_document_blocks_block_num")),
        sa.CheckConstraint(
            "jsonb_typeof(coordinates) = 'object'", name=op.f("ck_document_blocks_coordinates")
        ),
    )


def create_glossary() -> None:
    """Terms whose translation a user has fixed."""
    op.create_table(
        "glossary",
        id_column(),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("term", sa.String(200), nullable=False),
        sa.Column("translation", sa.String(200), nullable=False),
        sa.Column("target_lang", sa.String(10), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_glossary"),
        sa.UniqueConstraint(
            "user_id", "term", "target_lang", name="uq_glossary_user_id_term_target_lang"
        ),
        parent("glossary", "user_id", "users"),
        sa.CheckConstraint("btrim(term) <> ''", name=op.f("ck_glossary_term")),
        sa.CheckConstraint("btrim(translation) <> ''", name=op.f("ck_glossary_translation")),
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


def parent(table: str, column: str, referred: str) -> sa.ForeignKeyConstraint:
    """A foreign key whose rows go with the row that they belong to."""
    return sa.ForeignKeyConstraint(
        [column], [f"{referred}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE"
    )


def stored_file(table: str, column: str) -> sa.ForeignKeyConstraint:
    """A foreign key to a file of the layer, which forgets files that are gone for long."""
    return sa.ForeignKeyConstraint(
        [column], ["bedplate.stored_files.id"], name=f"fk_{table}_{column}", ondelete="SET NULL"
    )
