"""Database URLs come in the form that each provider likes, and are taken as they are."""

import pytest

from bedplate.errors import SettingsError
from bedplate.urls import DatabaseUrl, redact


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_scheme_of_the_providers_is_accepted(scheme: str) -> None:
    """Railway and Heroku say postgres://, SQLAlchemy's users postgresql+asyncpg://."""
    url = DatabaseUrl.parse(f"{scheme}://ann:p%40ss%2F@db.example:6543/shop?sslmode=require")
    assert (url.user, url.password, url.host, url.port) == ("ann", "p@ss/", "db.example", 6543)
    assert (url.database, url.sslmode) == ("shop", "require")


@pytest.mark.parametrize(
    "raw",
    [
        "postgresql://ann:p%40ss@db.example:6543/shop?sslmode=require",
        "postgresql://ann:secret@[::1]:5432/shop",
        "postgresql://ann:secret@/shop?host=%2Ftmp%2Fwith+space&port=5433",
        "postgresql://ann@localhost:5432/na%20me?application_name=x",
    ],
)
def test_render_and_parse_are_inverse(raw: str) -> None:
    """Child processes get the rendered URL: nothing may be lost on the way."""
    url = DatabaseUrl.parse(raw)
    assert DatabaseUrl.parse(url.render()) == url
    assert DatabaseUrl.parse(url.render("postgresql+asyncpg")) == url


def test_defaults_are_libpqs() -> None:
    """What a URL leaves out is what psql would take."""
    url = DatabaseUrl.parse("postgresql:///shop")
    assert (url.host, url.port, url.user) == ("localhost", 5432, "postgres")


def test_connect_arguments_carry_tls_only_when_asked() -> None:
    """asyncpg's own default tries TLS first; `sslmode` must reach it by its name."""
    assert "ssl" not in DatabaseUrl.parse("postgres://u@h/d").connect_arguments()
    assert DatabaseUrl.parse("postgres://u@h/d?sslmode=disable").connect_arguments()["ssl"] == (
        "disable"
    )


@pytest.mark.parametrize(
    ("raw", "is_local"),
    [
        ("postgres://u@localhost/d", True),
        ("postgres://u@127.0.0.9/d", True),
        ("postgres://u@[::1]/d", True),
        ("postgres:///d?host=/run/pg", True),
        ("postgres://u@127.0.0.1.example/d", False),
        ("postgres://u@db/d", False),
    ],
)
def test_is_local_knows_loopback_and_sockets(raw: str, is_local: bool) -> None:
    """Commands that destroy ask more of a server that is not on this machine."""
    assert DatabaseUrl.parse(raw).is_local is is_local


@pytest.mark.parametrize(
    "raw", ["", "db/shop", "sqlite:///x", "postgres://h:bad/d", "postgres://h"]
)
def test_what_is_no_database_url_is_refused_by_the_variables_name(raw: str) -> None:
    """The message names the variable that a person set, and never the value."""
    with pytest.raises(SettingsError) as caught:
        DatabaseUrl.parse(raw, variable="SME_DATABASE_URL")
    assert caught.value.message.startswith("SME_DATABASE_URL ")


def test_redact_hides_the_password_of_any_url() -> None:
    """Messages name the server, never how to enter it."""
    assert redact("redis://:pw@h:1/0") == "redis://:***@h:1/0"
    assert redact("redis://h:1/0") == "redis://h:1/0"
    assert "pw" not in DatabaseUrl.parse("postgres://u:pw@h/d").redacted()
