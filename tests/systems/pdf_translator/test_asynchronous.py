"""Requests and jobs by the same code side by side, and none of it blocks the loop."""

import ast
import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from httpx import AsyncClient

from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Worker
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System
from tests.systems.conftest import Catalogue
from tests.systems.pdf_translator.conftest import upload
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "pdf_translator"


async def test_P6_requests_and_jobs_share_the_code_side_by_side(
    client: AsyncClient,
    bedplate_settings: Settings,
    bedplate_system: System,
    catalogue: Catalogue,
    sample: bytes,
) -> None:
    """A loop that answers requests and one that works, each with a layer of its own.

    Under warnings as errors: no MissingGreenlet, no engine of another loop, no blocking connect.
    """
    made = [(await upload(client, sample)).json()["id"] for _ in range(4)]
    jobs = [row["job_id"] for row in await catalogue("SELECT job_id FROM translations")]

    async def work() -> list[object]:
        async with (
            DataLayer(bedplate_settings, name="pdf_translator") as layer,
            Worker(layer, layer.owner_database, registry_of(bedplate_system.tasks)) as worker,
        ):
            return await asyncio.gather(*(worker.run(job) for job in jobs))

    async def ask() -> list[int]:
        paths = [f"/translations/{each}" for each in made] + ["/translations", "/glossary", "/me"]
        answers = await asyncio.gather(*(client.get(path) for path in paths * 3))
        return [answer.status_code for answer in answers]

    with blocking_connects() as blocking:
        working = asyncio.create_task(asyncio.to_thread(asyncio.run, work()))
        statuses = [await ask()]
        while not working.done():
            statuses.append(await ask())
        outcomes = await working
    assert blocking == []
    assert {status for each in statuses for status in each} == {200}
    assert [str(outcome) for outcome in outcomes] == ["succeeded"] * 4
    states = {(await client.get(f"/translations/{each}")).json()["status"] for each in made}
    assert states == {"completed"}


def test_P6_rows_are_reached_by_sqlalchemy_alone() -> None:
    """No driver is imported by the system, and routes go by repositories."""
    for path in FOLDER.rglob("*.py"):
        names = set(_imported(path))
        assert names.isdisjoint({"asyncpg", "psycopg", "psycopg2"}), path
        if path.parent.name == "routes":
            assert "sqlalchemy" not in names, path
    assert {"psycopg2", "psycopg"}.isdisjoint(sys.modules)


@contextmanager
def blocking_connects() -> Iterator[list[str]]:
    """Connections that were opened on this thread, the loop's, by a socket that blocks."""
    loops, found, is_watching = threading.get_ident(), list[str](), True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect" or not is_watching or threading.get_ident() != loops:
            return
        connecting: socket.socket = arguments[0]
        if connecting.gettimeout() != 0:
            found.append(repr(arguments[1]))

    sys.addaudithook(hook)
    try:
        yield found
    finally:
        is_watching = False


def test_the_watch_for_blocking_connects_sees_one() -> None:
    """A check that sees nothing proves nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, blocking_connects() as found:
        socket.create_connection(server.getsockname()).close()
    assert len(found) == 1


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
