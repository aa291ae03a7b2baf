"""Fixtures of every system's tests: clients over HTTP, a worker in this process, the catalogue.

The folder of each system says which one is tested: `bedplate_system_name`.
"""

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

Catalogue = Callable[..., Awaitable[list[Any]]]
RunJob = Callable[[str], Awaitable[Outcome]]
NewClient = Callable[[], AbstractAsyncContextManager[AsyncClient]]


@pytest.fixture
def new_client(layer: DataLayer, bedplate_system: System) -> NewClient:
    """Makes clients of one application, each a person with cookies of their own."""
    app = bedplate_system.create_app(layer)

    @asynccontextmanager
    async def connect() -> AsyncIterator[AsyncClient]:
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield client

    return connect


@pytest.fixture
async def client(new_client: NewClient) -> AsyncIterator[AsyncClient]:
    """Somebody."""
    async with new_client() as client:
        yield client


@pytest.fixture
async def stranger(new_client: NewClient) -> AsyncIterator[AsyncClient]:
    """Somebody else."""
    async with new_client() as client:
        yield client


@pytest.fixture
async def worker(layer: DataLayer, bedplate_system: System) -> AsyncIterator[Worker]:
    """A worker of the system in this process."""
    async with Worker(layer, layer.owner_database, registry_of(bedplate_system.tasks)) as worker:
        yield worker


@pytest.fixture
def run_job(worker: Worker) -> RunJob:
    """Runs a job, as a worker would that got its message."""

    async def run(job_id: str) -> Outcome:
        return await worker.run(uuid.UUID(job_id))

    return run


@pytest.fixture
def catalogue(bedplate_worker_database: ScratchDatabase) -> Catalogue:
    """Asks this worker's database as the owner of its schema."""
    return asker(bedplate_worker_database)


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


def assert_problem(answer: Response, status: int) -> str:
    """An error of this status, as problem details. Returns its code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["code"])
