"""initial_schema_users_orgs_sessions.

Organizations, their users and their sessions, each table under row-level security; what sets
`updated_at` and keeps a session's life cycle; and the one lookup that crosses organizations, for
a login that does not know yet whose it is.

Revision 0001, the first.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("organizations", "users", "sessions")
TENANT = "(SELECT nullif(current_setting('bedplate.tenant', true), '')::uuid)"
POLICIES = {
    "organizations": f'"id" = {TENANT}',
    "users": f'"organization_id" = {TENANT}',
    "sessions": f'"organization_id" = {TENANT}',
}

KEEP_UPDATED_AT = """
    BEGIN
        NEW.updated_at = clock_timestamp();
        RETURN NEW;
    END;
"""

KEEP_LIFE_CYCLE = """
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.status <> OLD.status
           AND (OLD.status, NEW.status) NOT IN
               (('pending', 'active'), ('active', 'completed'), ('active', 'error')) THEN
            RAISE EXCEPTION 'a session that is % cannot become %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'session_life_cycle';
        END IF;
        IF NEW.status <> 'pending' AND NEW.started_at IS NULL THEN
            NEW.started_at = clock_timestamp();
        END IF;
        IF NEW.status IN ('completed', 'error') AND NEW.ended_at IS NULL THEN
            NEW.ended_at = clock_timestamp();
        END IF;
        RETURN NEW;
    END;
"""

# As the owner, whom no policy binds. The search path is fixed, so that a caller cannot have
# another table or operator found; the serving role keeps what its default privileges gave it.
FIND_LOGIN = """
CREATE FUNCTION find_login(wanted text)
RETURNS TABLE (user_id uuid, hashed_password text, organization_id uuid, is_active boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT u.id, u.hashed_password, u.organization_id, u.is_active
  FROM public.users AS u
  WHERE u.email = lower(wanted)
$$
"""


def upgrade() -> None:
    """Make the tables, their triggers and policies, and the login's lookup."""
    _create_organizations()
    _create_users()
    _create_sessions()
    op.create_function("update_updated_at_column", KEEP_UPDATED_AT)
    op.create_function("keep_session_life_cycle", KEEP_LIFE_CYCLE)
    for table in ("organizations", "users"):
        op.create_trigger(f"{table}_updated_at", table, "update_updated_at_column")
    op.create_trigger(
        "sessions_life_cycle",
        "sessions",
        "keep_session_life_cycle",
        event="BEFORE INSERT OR UPDATE",
    )
    for table in TABLES:
        op.enable_row_security(table)
        op.create_policy("tenant", table, using=POLICIES[table])
    op.execute(FIND_LOGIN)
    op.execute("REVOKE ALL ON FUNCTION find_login(text) FROM PUBLIC")


def downgrade() -> None:
    """Drop all of it. The policies and triggers go with their tables."""
    op.execute("DROP FUNCTION find_login(text)")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_function("keep_session_life_cycle")
    op.drop_function("update_updated_at_column")


def _create_organizations() -> None:
    op.create_table(
        "organizations",
        _id(),
        sa.Column("name", sa.String(255), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
    )


def _create_users() -> None:
    op.create_table(
        "users",
        _id(),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("hashed_password", sa.String(255), nullable=False),
        sa.Column("full_name", sa.String(255)),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(20), server_default="member", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.CheckConstraint("role IN ('admin', 'member', 'viewer')", name=op.f("ck_users_role")),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_users_email")),
        _of_organization("users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_users_organization_id_id")),
    )
    op.create_index(
        op.f("ix_users_organization_id_created_at_id"),
        "users",
        ["organization_id", "created_at", "id"],
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        _id(),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("room_name", sa.String(255), nullable=False),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        _moment("created_at"),
        sa.CheckConstraint(
            "status IN ('pending', 'active', 'completed', 'error')", name=op.f("ck_sessions_status")
        ),
        sa.CheckConstraint(
            "(started_at IS NULL) = (status = 'pending')", name=op.f("ck_sessions_started_at")
        ),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (status IN ('pending', 'active')) AND ended_at >= started_at",
            name=op.f("ck_sessions_ended_at"),
        ),
        _of_organization("sessions"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("room_name", name=op.f("uq_sessions_room_name")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_sessions_organization_id_id")),
    )
    op.create_index(
        op.f("ix_sessions_organization_id_created_at_id"),
        "sessions",
        ["organization_id", "created_at", "id"],
    )


def _id() -> "sa.Column[Any]":
    return sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False)


def _moment(name: str) -> "sa.Column[Any]":
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _of_organization(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id"],
        ["organizations.id"],
        name=op.f(f"fk_{table}_organization_id"),
        ondelete="CASCADE",
    )
