"""What every system finds in the embedded PostgreSQL: roles, a database, pgvector.

Made when missing, on every start and for every system that is added later. The owner migrates; the
application's role, which it may become, serves. Statements that take no parameters are composed by
the server's own format(), which quotes.
"""

from collections.abc import Callable, Iterable

from bedplate.project import SystemEntry
from bedplate.servers.wire import PostgresConnection, scram_verifier

# One row a statement: what of a system's roles and database is missing. $1 owner, $2 application
# role, $3 database. Needs no lock: the supervisor is the only one that provisions.
MISSING_STATEMENTS = """
SELECT statement
FROM (
  VALUES
    (1, NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1),
        format('CREATE ROLE %I LOGIN NOCREATEROLE', $1::text)),
    (2, NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $2),
        format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', $2::text)),
    (3, NOT EXISTS (
          SELECT FROM pg_auth_members m
          JOIN pg_roles g ON g.oid = m.roleid
          JOIN pg_roles u ON u.oid = m.member
          WHERE g.rolname = $2 AND u.rolname = $1),
        format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', $2::text, $1::text)),
    (4, NOT EXISTS (SELECT FROM pg_database WHERE datname = $3),
        format('CREATE DATABASE %I OWNER %I', $3::text, $1::text))
) AS step (number, is_missing, statement)
WHERE is_missing
ORDER BY number
"""
# The password is set again at each start: pinned and unpinned stands have different ones.
SET_PASSWORD = "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)"  # noqa: S105
HAS_VECTOR = "SELECT 1 FROM pg_extension WHERE extname = 'vector'"
OFFERS_VECTOR = "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"
CREATE_VECTOR = "CREATE EXTENSION IF NOT EXISTS vector"

Connect = Callable[[str], PostgresConnection]


def app_role(entry: SystemEntry) -> str:
    """The role that serves: it owns nothing and row-level security binds it."""
    return f"{entry.database}_app"


def provision(
    admin: PostgresConnection,
    connect: Connect,
    systems: Iterable[SystemEntry],
    password_of: Callable[[SystemEntry], str],
) -> list[str]:
    """Make what is missing, as superuser. Returns the databases made. Raises `PostgresRefusal`."""
    created = []
    for entry in systems:
        missing = admin.fetch(MISSING_STATEMENTS, entry.owner, app_role(entry), entry.database)
        for (statement,) in missing:
            admin.fetch(str(statement))
            if str(statement).startswith("CREATE DATABASE"):
                created.append(entry.database)
        _compose_and_run(admin, SET_PASSWORD, entry.owner, scram_verifier(password_of(entry)))
        with connect(entry.database) as inside:
            if not inside.fetch(HAS_VECTOR) and inside.fetch(OFFERS_VECTOR):
                inside.fetch(CREATE_VECTOR)
    return created


def _compose_and_run(admin: PostgresConnection, compose: str, *parameters: str) -> None:
    ((statement,),) = admin.fetch(compose, *parameters)
    admin.fetch(str(statement))
