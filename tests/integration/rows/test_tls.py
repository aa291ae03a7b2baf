"""A managed database: TLS as its URL asks for, certificates checked, parameters of any provider."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import text

from bedplate.errors import DatabaseUnreachableError, SettingsError
from bedplate.rows.database import Database
from bedplate.testing.clones import ScratchDatabase
from bedplate.urls import DatabaseUrl
from tests.tls import TlsFront

Through = Callable[..., Database]


@pytest.fixture
async def front(blank_database: ScratchDatabase, tmp_path: Path) -> AsyncIterator[TlsFront]:
    """The run's server, behind TLS; a server on a socket has none."""
    url = blank_database.url
    if url.host.startswith("/"):
        pytest.skip("the server of this run is reached by a socket")
    async with TlsFront(url.host, url.port, tmp_path, is_postgres=True) as front:
        yield front


@pytest.fixture
def through(front: TlsFront, blank_database: ScratchDatabase) -> Through:
    """The database by a URL with these parameters, as a provider shows it."""

    def make(scheme: str = "postgres", **parameters: str) -> Database:
        own = blank_database.url
        given = DatabaseUrl(own.host, front.port, own.user, own.database, own.password)
        return Database(DatabaseUrl.parse(f"{given.render(scheme)}?{urlencode(parameters)}"))

    return make


@pytest.mark.parametrize(
    "parameters",
    [
        {"sslmode": "require"},
        {"sslmode": "require", "channel_binding": "require"},
        {"sslmode": "require", "options": "endpoint=ep-quiet-1", "pgbouncer": "false"},
        {"ssl": "true", "connection_limit": "1", "connect_timeout": "10"},
        {"sslmode": "no-verify"},
    ],
    ids=["plain", "channel binding", "another client's", "words", "no-verify"],
)
async def test_a_providers_url_connects_by_tls(
    through: Through, front: TlsFront, parameters: dict[str, str]
) -> None:
    """Neon, Supabase, Heroku, Railway: pasted, and nothing taken out by hand."""
    if "options" in parameters:
        parameters = {**parameters, "options": "-c statement_timeout=4321"}
    async with (
        through("postgresql+asyncpg", **parameters) as database,
        database.engine.connect() as connection,
    ):
        timeout = await connection.scalar(text("SHOW statement_timeout"))
    assert timeout == ("4321ms" if "options" in parameters else "0")
    assert front.handshakes >= 1


async def test_an_authority_that_is_named_is_trusted(through: Through, front: TlsFront) -> None:
    """And with `require`, naming one means checking by it, as libpq does."""
    for mode in ("verify-ca", "require"):
        async with through(sslmode=mode, sslrootcert=str(front.authority)) as database:
            await database.ping()


@pytest.mark.bad_day(
    "A certificate of an unknown authority", sees="its certificate is not accepted"
)
@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_an_unknown_authority_is_refused(through: Through, mode: str) -> None:
    """The machine's own authorities are asked when none is named."""
    with pytest.raises(DatabaseUnreachableError, match="certificate is not accepted") as caught:
        await through(sslmode=mode).open()
    assert caught.value.data["reason"] == "certificate_refused"
    assert "sslrootcert" in caught.value.hint


async def test_another_hosts_certificate_is_refused(through: Through, front: TlsFront) -> None:
    """`verify-full` looks at the name too."""
    with pytest.raises(DatabaseUnreachableError, match="certificate is not accepted"):
        await through(sslmode="verify-full", sslrootcert=str(front.authority)).open()


async def test_a_missing_certificate_file_is_said(through: Through, tmp_path: Path) -> None:
    """A mistake in a path is none of the server's."""
    with pytest.raises(SettingsError, match="certificate that cannot be read"):
        through(sslmode="verify-full", sslrootcert=str(tmp_path / "none.pem"))
