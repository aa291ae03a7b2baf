"""Why PostgreSQL cannot be reached, and what to do: the driver's errors in words of ours.

Called by `database.py` wherever a connection is made or breaks. No message carries a password.
"""

import socket
import ssl

import asyncpg

from bedplate.errors import BedplateError, DatabaseUnreachableError, RoleRefusedError
from bedplate.urls import DatabaseUrl

# SQLSTATE → reason and hint. Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_STATE = {
    "28P01": ("wrong_password", "the password is wrong", "Check the password in DATABASE_URL."),
    "28000": (
        "not_authorized",
        "the server does not let this user in",
        "Check user and pg_hba.conf; a server that wants TLS needs ?sslmode=require.",
    ),
    "3D000": (
        "unknown_database",
        "there is no such database",
        "Check the name in DATABASE_URL, or create it: createdb NAME.",
    ),
    "53300": (
        "too_many_connections",
        "the server has no connection left",
        "Lower BEDPLATE_POOL_SIZE and BEDPLATE_MAX_OVERFLOW, or raise max_connections.",
    ),
    "57P03": (
        "starting",
        "the server is starting or stopping",
        "Try again in a moment: bedplate wait",
    ),
    "08P01": (
        "refused_by_pooler",
        "a pooler refused a start-up parameter",
        "Set BEDPLATE_TRANSACTION_POOLER=1, and DATABASE_DIRECT_URL to the server behind it.",
    ),
}
# PgBouncer says nearly everything under one code; its words, and the server's code for the same.
_POOLER = "08P01"
_BY_POOLER = (
    ("authentication failed", "28P01"),
    ("no such user", "28P01"),
    ("no such database", "3D000"),
    ("does not exist", "3D000"),
    ("no more connections allowed", "53300"),
)
_TLS_HINT = (
    "Check sslmode in DATABASE_URL: require needs a server with TLS, verify-full its certificate."
)
# SQLSTATE classes and codes of a connection that is gone.
_LOST_STATES = ("08", "57P01", "57P02", "57P03")


def refusal(url: DatabaseUrl, error: Exception, *, role: str | None) -> BedplateError:
    """The error of ours for a connection that could not be made."""
    state = getattr(error, "sqlstate", None)
    if role is not None and _is_about_role(error, role):
        return RoleRefusedError(
            f"{url.user!r} cannot serve as {role!r}: {error}",
            hint=f'CREATE ROLE "{role}" NOLOGIN; GRANT "{role}" TO "{url.user}" '
            "WITH SET TRUE, INHERIT FALSE; or name another by BEDPLATE_APP_ROLE.",
            role=role,
        )
    if state == _POOLER:
        state = next((code for words, code in _BY_POOLER if words in str(error)), state)
    if state in _BY_STATE:
        return _unreachable(url, *_BY_STATE[state])
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unreachable(
            url,
            "certificate_refused",
            f"its certificate is not accepted ({error.verify_message})",
            "Name the provider's authority: ?sslmode=verify-full&sslrootcert=FILE.pem",
        )
    if isinstance(error, (ssl.SSLError, asyncpg.ClientConfigurationError)) or _is_about_tls(error):
        return _unreachable(url, "tls_refused", "TLS could not be agreed on", _TLS_HINT)
    if isinstance(error, TimeoutError):
        return _unreachable(
            url,
            "timed_out",
            "it did not answer in time",
            "Check host, port and firewall; BEDPLATE_CONNECT_TIMEOUT says how long to wait.",
        )
    if isinstance(error, socket.gaierror):
        return _unreachable(
            url, "unknown_host", "no such host is known", "Check the host in DATABASE_URL."
        )
    if isinstance(error, OSError):
        return _unreachable(
            url,
            "refused",
            f"nobody answers there ({error.__class__.__name__})",
            "Start the embedded servers with bedplate up -d, or check host and port.",
        )
    return _unreachable(url, "refused", str(error) or error.__class__.__name__, _TLS_HINT)


def connection_lost(url: DatabaseUrl) -> DatabaseUnreachableError:
    """The error of ours for a connection that broke while in use."""
    return _unreachable(
        url,
        "connection_lost",
        "the connection broke while in use",
        "Try again; what was not committed is rolled back. See: bedplate logs postgres",
    )


def is_lost(error: object) -> bool:
    """Whether this error says that the connection is gone, and not that a statement is wrong."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_LOST_STATES)
    return isinstance(error, ConnectionError) or "connection is closed" in str(error)


def _unreachable(url: DatabaseUrl, reason: str, why: str, hint: str) -> DatabaseUnreachableError:
    return DatabaseUnreachableError(
        f"PostgreSQL at {url.host}:{url.port}, database {url.database!r}, user {url.user!r}: {why}",
        hint=hint,
        reason=reason,
    )


def _is_about_role(error: Exception, role: str) -> bool:
    return f'role "{role}"' in str(error) and isinstance(
        error, (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError)
    )


def _is_about_tls(error: Exception) -> bool:
    message = str(error).lower()
    return "ssl" in message or "tls" in message
