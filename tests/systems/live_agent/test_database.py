"""What live_agent depends on and connects by: packages, the engine, get_db, Redis."""

import ast
import asyncio
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from packaging.requirements import Requirement
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from bedplate.cache.connections import RedisPool, get_redis_client
from bedplate.errors import RedisUnreachableError
from bedplate.fastapi import DepRedis, DepSession, Identity, Problem, create_app, get_db, get_redis
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from systems.live_agent.models import Organization
from tests.systems.conftest import Catalogue
from tests.texts import ROOT

SPECIFIED = ("sqlalchemy[asyncio]", "asyncpg", "alembic", "redis[hiredis]", "bcrypt")
README = (ROOT / "systems" / "live_agent" / "README.md").read_text()
URL = "redis://localhost:6379/0"


def test_A1_the_dependencies_are_declared_without_extras() -> None:
    """By standard metadata, which pip, uv and poetry all read, and no lock file of one of them."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    declared = {_plain(line) for line in project["dependencies"]}
    assert declared >= set(SPECIFIED)
    assert {"name", "version", "requires-python"} <= set(project)
    assert document["build-system"]["build-backend"] == "setuptools.build_meta"
    assert "poetry" not in document["tool"]


def test_A1_what_is_declared_can_be_imported() -> None:
    """A plain install brings it all: what extras bring is not asked for."""
    brought = _closure(metadata.requires("bedplate") or [])
    assert {"sqlalchemy", "greenlet", "asyncpg", "alembic", "redis", "hiredis", "bcrypt"} <= brought
    program = "import sqlalchemy; import alembic; import asyncpg"
    for line in (program, "import redis, hiredis, bcrypt"):
        ran = subprocess.run([sys.executable, "-c", line], check=False, capture_output=True)
        assert ran.returncode == 0, ran.stderr


def test_A4_one_module_makes_every_connection() -> None:
    """Two engines would be two pools, and one of them would be forgotten at the end."""
    makers = {"create_async_engine", "async_sessionmaker", "sessionmaker"}
    found = {
        str(path.relative_to(ROOT))
        for folder in ("src/bedplate", "systems")
        for path in (ROOT / folder).rglob("*.py")
        if makers & _called(path)
    }
    assert found == {"src/bedplate/rows/database.py"}


async def test_A4_an_asynchronous_engine_and_its_sessions(layer: DataLayer) -> None:
    """As SQLAlchemy calls them."""
    assert isinstance(layer.database.engine, AsyncEngine)
    assert layer.database.engine.dialect.driver == "asyncpg"
    assert isinstance(layer.database.sessions, async_sessionmaker)
    async with layer.database.sessions() as session:
        assert isinstance(session, AsyncSession)
        assert session.bind is layer.database.engine


async def test_A4_get_db_commits_with_the_answer_and_rolls_back_otherwise(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """An answer of 400 or more, an exception: nothing of the request stays."""
    organization_id = new_id()

    async def identify(_request: object) -> Identity:
        return Identity(tenant=str(organization_id))

    app = create_app(layer, identify=identify)

    @app.post("/organizations/{name}", status_code=201)
    async def make(name: str, session: DepSession) -> None:
        session.add(Organization(id=organization_id, name=name))
        await session.flush()
        if name == "refused":
            raise Problem(409, "no")
        if name == "broken":
            raise RuntimeError("broken")

    assert get_db.__annotations__["return"] is AsyncSession
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for name, status in (("refused", 409), ("broken", 500), ("kept", 201)):
            assert (await client.post(f"/organizations/{name}")).status_code == status
    assert [row["name"] for row in await catalogue("SELECT name FROM organizations")] == ["kept"]


async def test_A11_a_client_of_the_url_speaks_by_hiredis(redis_url: str) -> None:
    """The parser in C, which is what hiredis is for."""
    client = get_redis_client(Settings.load("live_agent", {"REDIS_URL": redis_url}))
    try:
        assert await client.ping() is True
        pool: Any = client.connection_pool
        connection = await pool.get_connection()
        assert type(connection._parser).__name__ == "_AsyncHiredisParser"
        await pool.release(connection)
    finally:
        await client.aclose()


async def test_A11_a_route_gets_its_redis(layer: DataLayer) -> None:
    """`get_redis` as a dependency, from the layer's pool."""
    app = create_app(layer)

    @app.get("/ping")
    async def ping(redis: DepRedis) -> bool:
        return await redis.ping()

    async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert (await client.get("/ping")).json() is True
        health = (await client.get("/health")).json()["systems"]["live_agent"]["redis"]
    assert health["status"] == "up"
    assert get_redis.__doc__


async def test_A11_an_error_names_host_port_and_what_to_do() -> None:
    """And never the password."""
    settings = Settings.load("live_agent", {"REDIS_URL": "redis://:hush@localhost:1/0"})
    client = get_redis_client(settings)
    try:
        with pytest.raises(RedisUnreachableError) as caught:
            await client.ping()
    finally:
        await client.aclose()
    async with RedisPool.from_settings(settings) as pool:
        with pytest.raises(RedisUnreachableError) as same:
            await pool.ping()
    for error in (caught.value, same.value):
        assert "localhost:1" in str(error)
        assert "hush" not in f"{error} {error.hint}"
        assert "bedplate up" in error.hint
        assert error.__notes__ == [error.hint]


async def test_A12_one_line_connects_pings_and_prints_pong(redis_url: str) -> None:
    """The line of the README, as it stands there; with Redis down, what is wrong and what to do."""
    (line,) = re.findall(r'^python -c "(import asyncio; .*get_redis_client.*)"$', README, re.M)
    ran = await _python(line, {"REDIS_URL": redis_url})
    assert (ran.returncode, ran.stdout.strip()) == (0, "PONG"), ran.stderr

    ran = await _python(line, {"REDIS_URL": URL.replace("6379", "1")})
    assert ran.returncode != 0
    assert "PONG" not in ran.stdout
    *_, error, hint = ran.stderr.strip().splitlines()
    assert "Redis at redis://localhost:1/0 cannot be reached" in error
    assert "bedplate up" in hint


async def _python(line: str, variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", line],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _plain(line: str) -> str:
    wanted = Requirement(line)
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    return f"{wanted.name}{extras}"


def _closure(lines: list[str]) -> set[str]:
    """The distributions that these bring, those of theirs included, no extra but those named."""
    found: set[str] = set()
    waiting = [(Requirement(line), frozenset({""})) for line in lines]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted, extras = waiting.pop()
        if wanted.marker and not any(wanted.marker.evaluate({"extra": each}) for each in extras):
            continue
        key = (wanted.name.lower(), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(wanted.name.lower())
        named = frozenset({"", *wanted.extras})
        waiting += [(Requirement(each), named) for each in metadata.requires(wanted.name) or []]
    return found


def _called(path: Path) -> set[str]:
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {ast.unparse(call.func).split(".")[-1] for call in calls}
