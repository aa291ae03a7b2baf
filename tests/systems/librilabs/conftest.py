"""Fixtures of librilabs: readers over HTTP, a worker in this process, and the catalogue."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response

from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Outcome, Worker
from bedplate.layer import DataLayer
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase

# Plain HTTP on loopback: the cookie goes without Secure there, so that a client sends it back.
BASE_URL = "http://127.0.0.1"

Upload = Callable[..., Awaitable[Response]]
Catalogue = Callable[..., Awaitable[list[Any]]]
RunJob = Callable[[str], Awaitable[Outcome]]


@pytest.fixture(autouse=True)
def _plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not depend on what this machine's environment says of engines."""
    for variable in (
        "LIBRILABS_ENGINE",
        "LIBRILABS_ENGINE_LOG",
        "LIBRILABS_ENGINE_TIMEOUT_SECONDS",
        "LIBRILABS_LIBRETRANSLATE_URL",
        "LIBRILABS_LIBRETRANSLATE_API_KEY",
        "LIBRILABS_LIBRETRANSLATE_CHARACTERS",
    ):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def new_client(
    layer: DataLayer, librilabs: System
) -> Callable[[], AbstractAsyncContextManager[AsyncClient]]:
    """Makes clients of one application, each a reader with cookies of its own."""
    app = librilabs.create_app(layer)

    @asynccontextmanager
    async def connect() -> AsyncIterator[AsyncClient]:
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield client

    return connect


@pytest.fixture
async def client(
    new_client: Callable[[], AbstractAsyncContextManager[AsyncClient]],
) -> AsyncIterator[AsyncClient]:
    """A reader."""
    async with new_client() as client:
        yield client


@pytest.fixture
async def stranger(
    new_client: Callable[[], AbstractAsyncContextManager[AsyncClient]],
) -> AsyncIterator[AsyncClient]:
    """Another reader."""
    async with new_client() as client:
        yield client


@pytest.fixture
async def worker(layer: DataLayer, librilabs: System) -> AsyncIterator[Worker]:
    """A worker of librilabs in this process."""
    async with Worker(layer, layer.owner_database, registry_of(librilabs.tasks)) as worker:
        yield worker


@pytest.fixture
def run_job(worker: Worker) -> RunJob:
    """Runs the job of a translation, as a worker would that got its message."""

    async def run(job_id: str) -> Outcome:
        return await worker.run(uuid.UUID(job_id))

    return run


@pytest.fixture
def catalogue(librilabs_database: ScratchDatabase) -> Catalogue:
    """Asks this worker's database as the owner of its schema."""
    return asker(librilabs_database)


def asker(scratch: ScratchDatabase) -> Catalogue:
    """Queries on a connection of their own, each committed at once."""
    from bedplate.rows.database import Database

    async def ask(query: str, *arguments: Any) -> list[Any]:
        connection = await Database(scratch.url).connect()
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    return ask


async def upload(
    client: AsyncClient, text: str | bytes, *, name: str = "text.txt", language: str = "en"
) -> Response:
    """POST a text as a browser would."""
    data = text.encode() if isinstance(text, str) else text
    return await client.post(
        "/documents",
        files={"file": (name, data, "text/plain")},
        data={"source_language": language},
    )


async def upload_id(client: AsyncClient, text: str, **options: str) -> str:
    """The id of a text that was just uploaded."""
    answer = await upload(client, text, **options)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def ask_for(client: AsyncClient, document_id: str, language: str = "es") -> Response:
    """POST for a translation."""
    return await client.post(
        f"/documents/{document_id}/translations", json={"target_language": language}
    )


async def count_all(catalogue: Catalogue) -> dict[str, int]:
    """How many rows each table of the system has, and how many jobs there are."""
    tables = (
        "users",
        "documents",
        "document_passages",
        "translations",
        "translation_chunks",
        "bedplate.jobs",
    )
    return {table: (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}
