"""How a connection is established, as far as that needs no server."""

import socket

import pytest

from bedplate.errors import DatabaseUnreachableError, SettingsError
from bedplate.layer import DataLayer
from bedplate.settings import Settings


def test_L22_a_layer_connects_when_it_is_opened_and_not_before() -> None:
    """A constructor that connects cannot be used where there is no server yet."""
    layer = DataLayer(_settings(port=1), name="librilabs")

    assert not layer.is_open
    assert layer.database.engine.dialect.driver == "asyncpg"


async def test_L22_a_server_that_is_not_there_is_one_clear_error() -> None:
    """Host, port and database are said; the password is not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DatabaseUnreachableError) as caught:
            async with DataLayer(_settings(port=port), name="librilabs"):
                pass

    assert f"127.0.0.1:{port}" in caught.value.message
    assert "librilabs_translator" in caught.value.message
    assert "a-secret" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint


def test_L22_a_missing_variable_is_named() -> None:
    """`None has no attribute` helps nobody who forgot to set one."""
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        Settings.load("librilabs", {}).database()


def _settings(port: int) -> Settings:
    url = f"postgresql://librilabs:a-secret@127.0.0.1:{port}/librilabs_translator"
    return Settings.load("librilabs", {"LIBRILABS_DATABASE_URL": url})
