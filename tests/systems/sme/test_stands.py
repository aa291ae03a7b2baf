"""The stands of sme: its compose file, its variables, and the session of a request."""

import subprocess
import sys
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from starlette.types import Message, Receive, Scope, Send

from bedplate.errors import ProductionRefusedError, SettingsError
from bedplate.fastapi import DepSession
from bedplate.layer import DataLayer
from bedplate.project import Project
from bedplate.settings import Settings
from systems.sme.app import create_app
from systems.sme.models import Evidence
from systems.sme.settings import SmeSettings
from tests.deploy.compose import LIBRILABS, ComposeFile, findings
from tests.systems.conftest import Catalogue
from tests.systems.example_file import assert_embedded, assert_every_variable, example_lines
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "sme"
COMPOSE = FOLDER / "docker-compose.yml"
SPECIFIED_URL = "postgresql+asyncpg://sme:${DB_PASSWORD}@localhost:5432/sme"


def test_S1_the_compose_database_is_as_specified() -> None:
    """Image, container, names, password, port, volume and health check, each from the file."""
    file = ComposeFile.read(COMPOSE)
    postgres = file.services["postgres"]
    assert postgres["image"] == "pgvector/pgvector:pg16"
    assert postgres["container_name"] == "sme-postgres"
    assert postgres["environment"]["POSTGRES_DB"] == "sme"
    assert postgres["environment"]["POSTGRES_USER"] == "sme"
    assert "POSTGRES_PASSWORD: ${DB_PASSWORD}\n" in file.text
    assert postgres["ports"] == ["127.0.0.1:5432:5432"]
    assert postgres["volumes"] == ["postgres_data:/var/lib/postgresql/data"]
    assert "postgres_data" in file.document["volumes"]
    kind, command = postgres["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert command.startswith("pg_isready -U sme -d sme")
    assert "depends_on" not in postgres


def test_S1_the_compose_file_is_sound() -> None:
    """It fits the schema, refers to what is there, and starts in order as librilabs' does."""
    tool = Path(sys.executable).parent / "check-jsonschema"
    checked = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    file = ComposeFile.read(COMPOSE)
    # It has none on purpose: a database with a password that everybody knows is not made unasked.
    assert {*findings(file)} == {"DB_PASSWORD has no default"}
    shown = ComposeFile.read(LIBRILABS).services
    for name, service in file.services.items():
        for key in ("command", "depends_on", "user"):
            assert service.get(key) == shown[name].get(key), f"{name}: {key}"
    variables = {*file.services["api"]["environment"]}
    known = {str(field.alias) for field in Settings.model_fields.values()}
    assert variables <= known | SmeSettings.variables() | {"BEDPLATE_SYSTEMS"}


def test_S1_the_embedded_stand_has_the_same_names(project: Project) -> None:
    """The documented lines work on both."""
    entry = project.entry("sme")
    assert (entry.database, entry.owner, entry.development_password) == ("sme", "sme", "sme_dev")


def test_S3_the_url_takes_the_password_from_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment or `.env`, percent-encoded, for SME_DATABASE_URL as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    for variable in ("DATABASE_URL", "SME_DATABASE_URL"):
        (tmp_path / ".env").write_text(f"{variable}={SPECIFIED_URL}\nDB_PASSWORD=p@ss/w:rd\n")
        url = Settings.load("sme").database()
        assert (url.user, url.password, url.host, url.port, url.database) == (
            "sme",
            "p@ss/w:rd",
            "localhost",
            5432,
            "sme",
        )
        assert "p%40ss%2Fw%3Ard" in url.render()
    monkeypatch.setenv("DB_PASSWORD", "from the environment")
    assert Settings.load("sme").database().password == "from the environment"
    assert SmeSettings.load().db_password is not None
    assert "from the" not in repr(SmeSettings.load()) + repr(Settings.load("sme"))


def test_S3_a_password_that_is_not_set_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of plain Alembic, too; production takes no development password by this way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    monkeypatch.setenv("DATABASE_URL", SPECIFIED_URL)
    with pytest.raises(SettingsError, match=r"DB_PASSWORD is not set") as caught:
        Settings.load("sme")
    assert "\n" not in str(caught.value)
    assert "DB_PASSWORD" in caught.value.hint
    ran = subprocess.run(
        [sys.executable, "-m", "alembic", "current"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    (line,) = (ran.stdout + ran.stderr).splitlines()
    assert "DB_PASSWORD is not set" in line
    monkeypatch.setenv("DB_PASSWORD", "sme_dev")
    monkeypatch.setenv("BEDPLATE_ENV", "production")
    monkeypatch.setenv("BEDPLATE_SECRET_KEY", "k" * 40)
    with pytest.raises(ProductionRefusedError, match="DATABASE_URL"):
        Settings.load("sme")


def test_S6_the_example_holds_every_variable_with_a_comment() -> None:
    """DATABASE_URL and DB_PASSWORD among them, in the specification's words."""
    assert_every_variable("sme", SmeSettings.variables() | {"DATABASE_URL", "DB_PASSWORD"})
    assert f"DATABASE_URL={SPECIFIED_URL}" in "\n".join(example_lines("sme"))


def test_S6_the_example_copied_unchanged_keeps_the_embedded_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copying it must not point a first run at a server that is not there."""
    _, variables = assert_embedded("sme")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert SmeSettings.load().retention.days == 30


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SME_EMBEDDER", "word2vec"), ("SME_RETENTION_DAYS", "-1"), ("SME_LANGUAGE", "x" * 21)],
)
def test_S6_a_wrong_variable_is_one_line_that_names_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, not in a request."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        SmeSettings.load()


async def test_S6_the_engine_and_its_sessions_are_asynchronous(layer: DataLayer) -> None:
    """A synchronous one in a request would stop every other request."""
    assert isinstance(layer.database.engine, AsyncEngine)
    assert layer.database.engine.dialect.driver == "asyncpg"
    async with layer.transaction() as uow:
        assert isinstance(uow.session, AsyncSession)


async def test_S6_get_db_has_committed_before_the_answer_is_sent(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """And rolls back whatever is answered by an error."""
    app = create_app(layer)
    counted: list[int] = []

    @app.post("/test", status_code=201)
    async def make(session: DepSession, fails: bool = False) -> None:
        content = b"b" * 32 if fails else b"a" * 32
        session.add(
            Evidence(title="a", content_type="text/plain", size_bytes=1, content_hash=content)
        )
        await session.flush()
        if fails:
            raise RuntimeError("after the flush")

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def look_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                ((count,),) = await catalogue("SELECT count(*) FROM evidence")
                counted.append(count)
            await send(message)

        await app(scope, receive, look_and_send)

    transport = ASGITransport(watched, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.post("/test")).status_code == 201
        assert (await client.post("/test", params={"fails": True})).status_code == 500
    assert counted == [1, 1]
