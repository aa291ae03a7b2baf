"""What is checked once, when a database is opened: who the pool serves as, and whether it fits."""

import logging

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import RoleRefusedError

log = logging.getLogger("bedplate.rows.admission")

# Who this connection is, and what it could do that row-level security would not stop. MEMBER and
# not USAGE: a role that may SET ROLE to the owner is as dangerous as the owner.
WHO_AM_I = text("""
SELECT current_user AS name,
       r.rolsuper AS is_superuser,
       r.rolbypassrls AS bypasses_rls,
       pg_has_role(current_user, d.datdba, 'MEMBER') AS is_owner
  FROM pg_roles r, pg_database d
 WHERE r.rolname = current_user
   AND d.datname = current_database()
""")

# How many connections others leave to this process. Reserved ones are for administrators.
CONNECTIONS_LEFT = text("""
SELECT current_setting('max_connections')::int AS most,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0)
         - (SELECT count(*)::int
              FROM pg_stat_activity
             WHERE backend_type = 'client backend'
               AND pid <> pg_backend_pid()) AS available
""")


async def check_role(connection: AsyncConnection, role: str) -> None:
    """Raise `RoleRefusedError` unless this is `role`, and one that policies bind."""
    who = (await connection.execute(WHO_AM_I)).one()
    if who.name != role:
        why = f"the pool serves as {who.name!r} and not as {role!r}"
    elif who.is_superuser:
        why = f"the pool serves as {role!r}, a superuser"
    elif who.bypasses_rls:
        why = f"the pool serves as {role!r}, which bypasses row-level security"
    elif who.is_owner:
        why = f"the pool serves as {role!r}, which owns the database or may become its owner"
    else:
        return
    raise RoleRefusedError(
        why,
        hint=f'CREATE ROLE "{role}" NOLOGIN NOBYPASSRLS, and GRANT it to the owner WITH SET TRUE, '
        "INHERIT FALSE; or name another by BEDPLATE_APP_ROLE.",
        role=role,
    )


async def check_room(connection: AsyncConnection, wanted: int) -> None:
    """Warn when a pool of `wanted` connections may ask for more than the server has left."""
    left = (await connection.execute(CONNECTIONS_LEFT)).one()
    if wanted > left.available:
        log.warning(
            "The pool may ask for more connections than the server has left",
            extra={
                "pool_most": wanted,
                "available": left.available,
                "max_connections": left.most,
            },
        )
