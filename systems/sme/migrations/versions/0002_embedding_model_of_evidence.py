"""Which model has embedded a piece of evidence.

Null until all of it is embedded. Evidence from before has none, and is looked through once by the
job that renews what another model has embedded. One nullable column: no row is read or written.

Revision 0002, after 0001.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("evidence", sa.Column("embedding_model", sa.String(100), nullable=True))


def downgrade() -> None:
    """Drop it. The passages' own models stay."""
    op.drop_column("evidence", "embedding_model")
