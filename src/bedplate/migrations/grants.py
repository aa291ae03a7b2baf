"""The serving role and what it may do: made and granted by the owner, when migrating.

Requests run as `<database>_app`, which owns nothing and cannot bypass row-level security. It gets
rows of the system's tables and calls of its functions, now and later (default privileges), what
`enqueue` and a job's end need of the layer's tables, and no write on Alembic's version table.
"""

from typing import Any

import asyncpg

from bedplate.errors import MigrationError

READ_ROLE = """
SELECT role.oid IS NOT NULL AS exists,
       COALESCE(pg_has_role(current_user, role.oid, 'SET'), false) AS is_usable
FROM (SELECT to_regrole(quote_ident($1)) AS oid) AS role
"""

CREATE_ROLE = "CREATE ROLE {role} NOLOGIN NOBYPASSRLS"
# To take the role on, never to have its rights while being the owner.
GRANT_ROLE = "GRANT {role} TO {owner} WITH SET TRUE, INHERIT FALSE"

# Repeated by every run: a new release's tables are among them.
GRANT_LAYER = """
GRANT USAGE ON SCHEMA public, bedplate TO {role};
GRANT SELECT ON bedplate.version TO {role};
GRANT SELECT, INSERT, UPDATE ON bedplate.jobs TO {role};
GRANT SELECT, INSERT ON bedplate.outbox TO {role};
GRANT SELECT, INSERT ON bedplate.inbox TO {role};
GRANT SELECT, INSERT, UPDATE ON bedplate.stored_files TO {role};
"""

# Whether the next statement was run: it is not repeated, so that a revision may take rights away.
HAS_SYSTEM_GRANTS = """
SELECT EXISTS (
  SELECT
  FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS acl
  WHERE d.defaclrole = quote_ident(current_user)::regrole
    AND d.defaclnamespace = 'public'::regnamespace
    AND acl.grantee = to_regrole(quote_ident($1))
)
"""

# Only what the owner owns: extensions leave tables of a superuser in public.
GRANT_SYSTEM = """
ALTER DEFAULT PRIVILEGES IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO {role};
DO $grant$
DECLARE
  existing record;
BEGIN
  FOR existing IN
    SELECT c.oid::regclass AS name,
           CASE c.relkind
             WHEN 'S' THEN 'USAGE ON SEQUENCE'
             ELSE 'SELECT, INSERT, UPDATE, DELETE ON TABLE'
           END AS what
    FROM pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace
      AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND pg_has_role(c.relowner, 'USAGE')
  LOOP
    EXECUTE format('GRANT %s %s TO %I', existing.what, existing.name, {literal});
  END LOOP;
END
$grant$;
"""

# Apart from the tables' rights: a database that has those from before gets these, too.
HAS_FUNCTION_GRANTS = """
SELECT EXISTS (
  SELECT
  FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS acl
  WHERE d.defaclrole = quote_ident(current_user)::regrole
    AND d.defaclnamespace = 'public'::regnamespace
    AND d.defaclobjtype = 'f'
    AND acl.grantee = to_regrole(quote_ident($1))
)
"""

# So that a revision can take a function from PUBLIC without knowing this role's name.
GRANT_FUNCTIONS = """
ALTER DEFAULT PRIVILEGES IN SCHEMA public
  GRANT EXECUTE ON FUNCTIONS TO {role};
"""

CAN_WRITE_VERSION = """
SELECT COALESCE(
  has_table_privilege(
    to_regrole(quote_ident($1))::oid, to_regclass('public.alembic_version')::oid, 'INSERT'
  ),
  false
)
"""

PROTECT_VERSION = """
REVOKE INSERT, UPDATE, DELETE ON public.alembic_version FROM {role};
"""


async def grant(connection: Any, role: str) -> None:
    """Make the role if it is missing, and give it its rights. Raises `MigrationError`."""
    await _ensure_role(connection, role)
    quoted = quote_identifier(role)
    async with connection.transaction():
        await connection.execute(GRANT_LAYER.format(role=quoted))
        if not await connection.fetchval(HAS_SYSTEM_GRANTS, role):
            await connection.execute(GRANT_SYSTEM.format(role=quoted, literal=quote_literal(role)))
        if not await connection.fetchval(HAS_FUNCTION_GRANTS, role):
            await connection.execute(GRANT_FUNCTIONS.format(role=quoted))


async def protect_version(connection: Any, role: str) -> None:
    """Take back the writes on Alembic's table that the default privileges gave."""
    if await connection.fetchval(CAN_WRITE_VERSION, role):
        await connection.execute(PROTECT_VERSION.format(role=quote_identifier(role)))


async def is_granted(connection: Any, role: str) -> bool:
    """Whether the role can be taken on and has its rights. Changes nothing."""
    found = await connection.fetchrow(READ_ROLE, role)
    if not (found["exists"] and found["is_usable"]):
        return False
    if await connection.fetchval(CAN_WRITE_VERSION, role):
        return False
    if not await connection.fetchval(HAS_FUNCTION_GRANTS, role):
        return False
    return bool(await connection.fetchval(HAS_SYSTEM_GRANTS, role))


def render_grants(role: str) -> str:
    """The same as a script, for a database administrator. The role must exist."""
    every = f"{GRANT_LAYER}{GRANT_SYSTEM}{GRANT_FUNCTIONS}"
    return every.format(role=quote_identifier(role), literal=quote_literal(role)).strip()


def render_protection(role: str) -> str:
    """What a script ends with, once Alembic's table is there."""
    return PROTECT_VERSION.format(role=quote_identifier(role)).strip()


def quote_identifier(name: str) -> str:
    """A name as SQL writes it; roles and databases cannot be parameters of these statements."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A text as SQL writes it, in a block that takes no parameters."""
    return "'" + text.replace("'", "''") + "'"


async def _ensure_role(connection: Any, role: str) -> None:
    found = await connection.fetchrow(READ_ROLE, role)
    owner = await connection.fetchval("SELECT current_user")
    create = CREATE_ROLE.format(role=quote_identifier(role))
    member = GRANT_ROLE.format(role=quote_identifier(role), owner=quote_identifier(owner))
    try:
        if not found["exists"]:
            await _create_role(connection, create)
        if not (await connection.fetchrow(READ_ROLE, role))["is_usable"]:
            await connection.execute(member)
    except asyncpg.InsufficientPrivilegeError as error:
        needed = [member] if found["exists"] else [create, member]
        raise MigrationError(
            f"the serving role {role!r} is not there or not granted to {owner!r}, "
            "which may not change that",
            hint="As a superuser, once: " + " ".join(f"{each};" for each in needed),
            role=role,
        ) from error


async def _create_role(connection: Any, create: str) -> None:
    try:
        await connection.execute(create)
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        # Roles belong to the whole server: another database's migration made it just now.
        return
