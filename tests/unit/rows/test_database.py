"""What a Database says and does without a server."""

import socket
import ssl
from datetime import timedelta

import asyncpg
import pytest

from bedplate.errors import DatabaseUnreachableError, RoleRefusedError
from bedplate.rows.database import Database
from bedplate.rows.unreachable import is_lost, refusal
from bedplate.urls import DatabaseUrl

SECRET = "canary-password"
URL = DatabaseUrl.parse(f"postgresql://librilabs:{SECRET}@127.0.0.1:5432/library")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.InvalidPasswordError("password authentication failed"), "wrong_password"),
        (
            asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry, no encryption"),
            "not_authorized",
        ),
        (asyncpg.InvalidCatalogNameError('database "x" does not exist'), "unknown_database"),
        (asyncpg.TooManyConnectionsError("sorry, too many clients"), "too_many_connections"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), "starting"),
        (asyncpg.ProtocolViolationError("unsupported startup parameter"), "refused_by_pooler"),
        (ssl.SSLError("certificate verify failed"), "tls_refused"),
        (ConnectionError("rejected SSL upgrade"), "tls_refused"),
        (TimeoutError(), "timed_out"),
        (ConnectionRefusedError(111, "Connect call failed"), "refused"),
        (socket.gaierror(-2, "Name or service not known"), "unknown_host"),
    ],
)
def test_each_refusal_has_its_reason_and_what_to_do(error: Exception, reason: str) -> None:
    """A person at the terminal needs to know which of them it is, and what next."""
    made = refusal(URL, error, role=None)
    assert isinstance(made, DatabaseUnreachableError)
    assert made.data["reason"] == reason
    assert made.hint
    assert "127.0.0.1:5432" in made.message
    assert SECRET not in made.message + made.hint


def test_a_role_that_is_not_there_is_no_unreachable_server() -> None:
    """The server answered: what is missing is a role, and the hint says how to make it."""
    error = asyncpg.InvalidParameterValueError('role "library_app" does not exist')
    made = refusal(URL, error, role="library_app")
    assert isinstance(made, RoleRefusedError)
    assert 'CREATE ROLE "library_app"' in made.hint


def test_only_errors_of_the_connection_count_as_lost() -> None:
    """A wrong statement on a sound connection must keep its own error."""
    assert is_lost(asyncpg.AdminShutdownError("terminating connection"))
    assert is_lost(ConnectionResetError())
    assert is_lost(asyncpg.InterfaceError("cannot perform operation: connection is closed"))
    assert not is_lost(asyncpg.UniqueViolationError("duplicate key"))
    assert not is_lost(asyncpg.InterfaceError("another operation is in progress"))


def test_a_constructor_opens_nothing_and_shows_no_password() -> None:
    """A Database is made where settings are read, also where no server runs yet."""
    database = Database(URL, role="library_app")
    assert database.engine.sync_engine.pool.status().startswith("Pool size")
    assert SECRET not in repr(database.engine) + str(database.engine.url) + repr(database.url)


async def test_a_closed_port_is_said_to_refuse() -> None:
    """The most frequent mistake of all: the server is not started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = DatabaseUrl.parse(f"postgresql://a:{SECRET}@127.0.0.1:{port}/b")
        database = Database(url, connect_timeout=timedelta(seconds=5))
        with pytest.raises(DatabaseUnreachableError) as caught:
            await database.open()
    assert caught.value.data["reason"] == "refused"
    assert "bedplate up" in caught.value.hint


async def test_a_server_that_never_answers_times_out() -> None:
    """A firewall that drops packets must not hold a start for minutes."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        url = DatabaseUrl.parse(f"postgresql://a@127.0.0.1:{port}/b?sslmode=disable")
        database = Database(url, connect_timeout=timedelta(milliseconds=100))
        with pytest.raises(DatabaseUnreachableError) as caught:
            await database.open()
    assert caught.value.data["reason"] == "timed_out"
