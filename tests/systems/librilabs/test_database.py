"""The database of librilabs: reached, entered by a pool, handed to routes, read by repositories."""

import ast
import asyncio
import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import MutableMapping
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from packaging.requirements import Requirement
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from bedplate.fastapi import DepSession, create_app, get_db
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from bedplate.testing.stack import Servers
from systems.librilabs.models import Base, Document, User
from systems.librilabs.readers import Reader
from systems.librilabs.repositories import Documents, Translations, Users
from systems.librilabs.settings import LibriLabsSettings
from systems.librilabs.uploads import Upload
from tests.systems.conftest import Catalogue
from tests.systems.example_file import assert_embedded, assert_every_variable, example_lines
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "librilabs"
BEDPLATE = (sys.executable, "-m", "bedplate.cli.main")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_L1_a_providers_url_is_taken_as_it_is(
    librilabs_database: ScratchDatabase, scheme: str
) -> None:
    """Railway gives `postgresql://` or `postgres://`; nobody should have to rewrite it."""
    variables = {**librilabs_database.variables(), "DATABASE_URL": ""}
    variables["LIBRILABS_DATABASE_URL"] = librilabs_database.url.render(scheme)

    layer = DataLayer(Settings.load("librilabs", variables), name="librilabs")
    async with layer, layer.reading() as session:
        version = await session.scalar(text("SHOW server_version_num"))
    assert int(version) >= 160000


async def test_L1_the_embedded_server_is_reached_where_none_is_named(
    stack: Servers, librilabs: System
) -> None:
    """No variable, no Docker: the stack made the system's database, with its owner."""
    if stack.state is None:
        pytest.skip("TEST_DATABASE_URL names a server: nothing is embedded in this run")
    url = stack.owners["librilabs"]
    assert (url.database, url.user, url.is_local) == ("librilabs_translator", "librilabs", True)

    async with Database(url) as database, database.session() as session:
        assert await session.scalar(text("SELECT current_database()")) == "librilabs_translator"


def test_L2_sqlalchemy_2_with_asyncpg_and_never_psycopg2() -> None:
    """Declared as asked; nothing that is installed with it brings the other driver."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"]
    for line in ("sqlalchemy[asyncio]>=2.0", "asyncpg>=0.30.0", "alembic>=1.14.0"):
        assert line in declared

    resolved = _resolved("bedplate")
    assert {"sqlalchemy", "asyncpg", "alembic", "greenlet"} <= resolved
    assert resolved.isdisjoint({"psycopg2", "psycopg2-binary", "psycopg", "databases"})
    pinned = (ROOT / "constraints.txt").read_text()
    assert "psycopg" not in pinned


async def test_L2_every_session_is_an_async_session_on_asyncpg(layer: DataLayer) -> None:
    """A synchronous session in a request would stop every other request."""
    assert layer.database.engine.dialect.driver == "asyncpg"
    async with layer.transaction() as uow:
        assert isinstance(uow.session, AsyncSession)
    async with layer.reading() as session:
        assert type(session) is AsyncSession
    legacy = {"create_engine", "sessionmaker", "scoped_session", "psycopg2"}
    for path in (*FOLDER.rglob("*.py"), *(ROOT / "src" / "bedplate").rglob("*.py")):
        names = {alias.name for alias in _imported(path)}
        if "sqlalchemy" in {_module_of(node).split(".")[0] for node in _imports(path)}:
            assert names.isdisjoint(legacy), path
        assert FOLDER not in path.parents or "Session" not in names, path


async def test_L3_the_pool_is_configured_from_settings_and_measured_against_the_server(
    librilabs_database: ScratchDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many processes with too large pools are noticed at the start, not under load."""
    settings = librilabs_database.settings(
        BEDPLATE_POOL_SIZE="3",
        BEDPLATE_MAX_OVERFLOW="2",
        BEDPLATE_POOL_TIMEOUT="1.5",
        BEDPLATE_POOL_RECYCLE="60",
    )
    async with Database.from_settings(settings) as database:
        pool: Any = database.engine.sync_engine.pool
        assert (pool.size(), pool._max_overflow, pool._timeout, pool._recycle) == (3, 2, 1.5, 60)
    assert not caplog.records

    # A pooler has room for more clients than its server has connections.
    direct = replace(librilabs_database, pooled_url=None)
    greedy = direct.settings(BEDPLATE_POOL_SIZE="1000")
    with caplog.at_level(logging.WARNING, "bedplate.rows.database"):
        async with Database.from_settings(greedy):
            pass
    assert len(caplog.records) == 1


async def test_L6_the_connection_is_tested_from_the_application(client: AsyncClient) -> None:
    """A person and a load balancer ask the same question."""
    answer = await client.get("/health")

    database = answer.json()["systems"]["librilabs"]["database"]
    assert database["status"] == "up"
    assert database["latency_ms"] > 0


async def test_L6_the_connection_is_tested_by_a_command(
    stack: Servers, committed: ScratchDatabase
) -> None:
    """`bedplate psql` needs no host, port or password to be typed."""
    variables = {**os.environ, **committed.variables()}
    variables["BEDPLATE_STATE_DIR"] = variables["BEDPLATE_TEST_STATE_DIR"]
    query = "SELECT current_database()"

    ran = await asyncio.to_thread(
        subprocess.run,
        [*BEDPLATE, "psql", "librilabs", "--", "-Atc", query],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr
    url = stack.owners["librilabs"] if stack.state else committed.url
    assert ran.stdout.strip() == url.database


def test_L7_the_example_holds_every_variable_with_a_comment() -> None:
    """What is not in `.env.example` does not exist for whoever deploys it."""
    assert_every_variable("librilabs", LibriLabsSettings.variables())


def test_L7_the_example_copied_unchanged_keeps_the_embedded_stand() -> None:
    """Copying it must not point a first run at a server that is not there."""
    settings, _ = assert_embedded("librilabs")
    assert settings.pool_size == 5
    text = "\n".join(example_lines("librilabs"))
    compose = "postgresql+asyncpg://librilabs:librilabs_dev@postgres:5432/librilabs_translator"
    assert compose in text
    assert "Railway" in text


def test_L7_nothing_is_hard_coded() -> None:
    """An address or a password in the code is one that somebody deploys."""
    for path in FOLDER.rglob("*.py"):
        source = path.read_text()
        for found in ("postgresql://", "postgres://", "redis://", "localhost", "librilabs_dev"):
            assert found not in source, f"{found} in {path}"


async def test_L8_get_db_has_committed_before_the_answer_is_sent(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """A client that got its 201 finds its row."""
    app = create_app(layer)
    counted: list[int] = []

    @app.post("/users", status_code=201)
    async def make(session: DepSession) -> None:
        assert isinstance(session, AsyncSession)
        session.add(User(email="a@example.org"))

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def look_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                ((count,),) = await catalogue("SELECT count(*) FROM users")
                counted.append(count)
            await send(message)

        await app(scope, receive, look_and_send)

    async with AsyncClient(transport=ASGITransport(watched), base_url="http://127.0.0.1") as client:
        assert (await client.post("/users")).status_code == 201
    assert counted == [1]
    assert get_db.__annotations__["return"] is not None


def test_L9_routes_reach_rows_by_repositories_alone() -> None:
    """A query in a route is a query that forgets whose rows these are."""
    for path in (FOLDER / "routes").glob("*.py"):
        modules = {_module_of(node) for node in _imports(path)}
        assert not {name for name in modules if name.split(".")[0] in {"sqlalchemy", "asyncpg"}}
    for path in (FOLDER / "routes").glob("*.py"):
        called = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        assert called.isdisjoint({"execute", "scalars", "scalar", "flush", "commit", "add"}), path


async def test_L9_repositories_write_and_read(session: AsyncSession) -> None:
    """One for each thing that a reader would name."""
    user = await Users(session).add(User(email="a@example.org"))
    assert await Users(session).find_by_email("A@example.org") is user
    reader = Reader(user_id=user.id)
    documents, translations = Documents(session, reader), Translations(session, reader)

    document = await documents.store(Upload("a.txt", 4, "text"), "en")
    translation = await translations.start(document, "es")

    assert await documents.get(document.id) is document
    assert await translations.get(translation.id) is translation
    assert await translations.find_for(document, "es") is translation
    await documents.remove(await documents.get(document.id, is_locked=True))
    assert await documents.find(document.id) is None
    assert await translations.find(translation.id) is None


async def test_L22_a_session_runs_a_basic_query_in_a_database_for_tests(
    session: AsyncSession,
) -> None:
    """Never in the database that a person works in."""
    assert await session.scalar(text("SELECT 1")) == 1
    assert "test" in str(await session.scalar(text("SELECT current_database()")))


@pytest.mark.parametrize("time", [1, 2])
async def test_L22_tests_do_not_see_each_others_rows(
    session: AsyncSession, layer: DataLayer, time: int
) -> None:
    """The same rows are made twice, rolled back and committed: neither round sees the other's."""
    assert await session.scalar(text("SELECT count(*) FROM users")) == 0
    session.add(User(email="rolled-back@example.org"))
    await session.flush()
    async with layer.transaction() as uow:
        assert await uow.session.scalar(text("SELECT count(*) FROM users")) == 0
        uow.add(User(email="committed@example.org"))


async def test_L22_the_migrated_schema_has_the_models_tables(session: AsyncSession) -> None:
    """Every model can be selected from as the serving role."""
    for table in Base.metadata.sorted_tables:
        assert (await session.execute(table.select().limit(1))).all() == []
    document = Document(
        content="x", file_name="a", file_size=1, source_language="en", session_id="s"
    )
    session.add(document)
    await session.flush()
    assert document.id.version == 7
    assert document.created_at.tzinfo is not None


def _resolved(name: str) -> set[str]:
    """Every distribution that installing `name` brings, extras left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        for line in distribution(current).requires or []:
            wanted = Requirement(line)
            extras: list[MutableMapping[str, str]] = [{"extra": ""}, {"extra": "asyncio"}]
            if wanted.marker is None or any(wanted.marker.evaluate(dict(each)) for each in extras):
                waiting.append(wanted.name.lower().replace("_", "-"))
    return found - {name}


def _imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    tree = ast.walk(ast.parse(path.read_text()))
    return [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom)]


def _imported(path: Path) -> list[ast.alias]:
    return [alias for node in _imports(path) for alias in node.names]


def _module_of(node: ast.Import | ast.ImportFrom) -> str:
    return (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
