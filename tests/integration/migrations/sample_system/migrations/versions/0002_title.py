"""Titles."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "books",
        sa.Column("title", sa.String(200), nullable=False, server_default=sa.text("''")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("books", "title")
