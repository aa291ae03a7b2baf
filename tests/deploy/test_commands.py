"""The commands of the compose file, as they stand there, on servers given by variables alone.

They run in a folder that has what the image has, on a database that the compose file's own script
made. The order of the tests is that of a start.
"""

import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from bedplate.urls import DatabaseUrl
from tests.deploy.compose import LIBRILABS, ComposeFile
from tests.deploy.conftest import Container
from tests.integration.cli.conftest import Running

SERVICES = ComposeFile.read(LIBRILABS).services
READ_OWNER = """
SELECT rolsuper, rolbypassrls, rolcreaterole,
       pg_get_userbyid((SELECT datdba FROM pg_database WHERE datname = current_database())) AS owner
FROM pg_roles WHERE rolname = current_user
"""


async def test_L1_compose_database_has_an_owner_who_is_no_superuser(
    composed_database: DatabaseUrl,
) -> None:
    """The script gives the owner its database, a role to serve as, and the extension."""
    connection = await asyncpg.connect(composed_database.render())
    try:
        found = await connection.fetchrow(READ_OWNER)
        assert found["owner"] == composed_database.user
        assert not any(found[right] for right in ("rolsuper", "rolbypassrls", "rolcreaterole"))
        extensions = await connection.fetch("SELECT extname FROM pg_extension")
        assert "vector" in {row["extname"] for row in extensions}
        await connection.execute(f'SET ROLE "{composed_database.database}_app"')
    finally:
        await connection.close()


def test_L1_compose_migrates_once_and_again(container: Container) -> None:
    """The one-shot container: a second start, of which there will be many, finds nothing to do."""
    for _ in range(2):
        done = container.call(*SERVICES["migrate"]["command"])
        assert done.returncode == 0, done.stderr


def test_L6_container_tests_its_connection_by_commands(container: Container) -> None:
    """`docker compose exec api …`: Alembic as the specification writes it, and our own."""
    assert container.call("alembic", "upgrade", "head").returncode == 0
    current = container.call("alembic", "current")
    assert "0002 (head)" in current.stdout, current.stderr
    assert container.call("bedplate", "migrate", "status").returncode == 0
    waited = container.call("bedplate", "wait", "--timeout", "3")
    assert waited.returncode == 0, waited.stderr


@pytest.fixture(scope="module")
def address(container: Container) -> Iterator[str]:
    """API, relay and worker, by their commands; only host and port of the API are the test's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    commands = {name: list(SERVICES[name]["command"]) for name in ("api", "relay", "worker")}
    commands["api"] = [{"0.0.0.0": "127.0.0.1", "8000": port}.get(a, a) for a in commands["api"]]  # noqa: S104 - replaced
    running = [Running(container.start(*command)) for command in commands.values()]
    try:
        running[0].wait_for("Serving on")
        yield f"http://127.0.0.1:{port}"
    finally:
        # What `docker compose down` sends.
        ends = [each.end(signal.SIGTERM) for each in running]
    # uvicorn finishes, then ends by the signal that it was sent.
    assert ends == [-signal.SIGTERM, 0, 0]


def test_L6_container_is_healthy_by_its_own_checks(container: Container, address: str) -> None:
    """What the compose file asks of each container, and what decides when `up --wait` returns."""
    for name in ("api", "relay", "worker"):
        kind, *check = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        asked = [each.replace("http://127.0.0.1:8000", address) for each in check]
        done = container.call(*asked)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_L6_container_that_lost_its_database_is_unhealthy(container: Container) -> None:
    """A check that cannot fail restarts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    lost = {"DATABASE_URL": f"postgresql://a:b@127.1:{port}/c"}
    alone = Container(container.folder, container.environment | lost)
    check = SERVICES["worker"]["healthcheck"]["test"][1:-1]
    assert alone.call(*check, "0.1").returncode == 3


async def test_L1_compose_processes_do_the_work(address: str) -> None:
    """A text goes in by the API, through relay and worker, and its translation comes out."""
    async with httpx.AsyncClient(base_url=f"{address}/librilabs", timeout=60) as client:
        stored = await client.post(
            "/documents",
            files={"file": ("a.txt", b"A text.", "text/plain")},
            data={"source_language": "en"},
        )
        assert stored.status_code == 201, stored.text
        asked = await client.post(
            f"/documents/{stored.json()['id']}/translations", json={"target_language": "es"}
        )
        states = await _follow(client, asked.json()["id"])
        assert states[-1]["status"] == "completed"
        content = await client.get(f"/translations/{asked.json()['id']}/content")
        assert content.text == "A text."


async def _follow(client: httpx.AsyncClient, translation: str) -> list[dict[str, Any]]:
    """The server-sent events, which end when the translation does."""
    async with client.stream("GET", f"/translations/{translation}/events") as stream:
        lines = [line async for line in stream.aiter_lines()]
    return [json.loads(line[len("data: ") :]) for line in lines if line.startswith("data: ")]
