"""The file as it was uploaded.

A document names its stored file. Documents from before, or uploaded where there is no S3, name
none. Lock-safe: the column and its foreign key come in one step that reads no row, and the index
is built beside writes. After a failure between the two, both can be repeated.

Revision 0002, after 0001.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_documents_original_file_id"
# In one statement: PostgreSQL does not validate a key of a column that it adds with nulls alone.
ADD_COLUMN = """
ALTER TABLE documents
  ADD COLUMN IF NOT EXISTS original_file_id uuid
  CONSTRAINT fk_documents_original_file_id
  REFERENCES bedplate.stored_files (id) ON DELETE SET NULL
"""


def upgrade() -> None:
    """Add the column, then what finds a file's document when its row is forgotten."""
    op.execute(ADD_COLUMN)
    with op.get_context().autocommit_block():
        op.create_index(
            INDEX,
            "documents",
            ["original_file_id"],
            postgresql_where=sa.text("original_file_id IS NOT NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    """Drop the column with its key and index. The files stay, and no document names them."""
    op.drop_column("documents", "original_file_id")
