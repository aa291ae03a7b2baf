"""An index, built without blocking writes."""

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Build it outside a transaction."""
    with op.get_context().autocommit_block():
        op.create_index("ix_books_title", "books", ["title"], postgresql_concurrently=True)


def downgrade() -> None:
    """Drop it, outside a transaction too."""
    with op.get_context().autocommit_block():
        op.drop_index("ix_books_title", table_name="books", postgresql_concurrently=True)
