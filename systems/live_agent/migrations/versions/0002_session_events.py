"""The history of sessions.

One row for each event, in a table of its own under row-level security; its keys name the
organization, so that no row can name another one's session or user.

Revision 0002, after 0001.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "session_events"
TENANT = "(SELECT nullif(current_setting('bedplate.tenant', true), '')::uuid)"


def upgrade() -> None:
    """Make the table and its policy."""
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('start', 'join', 'message', 'leave', 'end')",
            name=op.f("ck_session_events_kind"),
        ),
        sa.CheckConstraint("position > 0", name=op.f("ck_session_events_position")),
        sa.CheckConstraint(
            "(kind = 'message') = (text IS NOT NULL)", name=op.f("ck_session_events_text")
        ),
        sa.CheckConstraint(
            "length(text) BETWEEN 1 AND 4000", name=op.f("ck_session_events_text_length")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "session_id"],
            ["sessions.organization_id", "sessions.id"],
            name=op.f("fk_session_events_organization_id_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_session_events_organization_id_user_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session_events")),
        sa.UniqueConstraint(
            "organization_id",
            "session_id",
            "position",
            name=op.f("uq_session_events_organization_id_session_id_position"),
        ),
    )
    op.create_index(
        op.f("ix_session_events_organization_id_user_id"), TABLE, ["organization_id", "user_id"]
    )
    op.enable_row_security(TABLE)
    op.create_policy("tenant", TABLE, using=f'"organization_id" = {TENANT}')


def downgrade() -> None:
    """Drop it, and the history with it."""
    op.drop_table(TABLE)
