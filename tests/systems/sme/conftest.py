"""Fixtures of sme's tests: files, and evidence that is added over HTTP."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import pytest
from httpx import AsyncClient, Response

from bedplate.jobs.worker import Outcome
from systems.sme import tasks
from systems.sme.settings import SmeSettings
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.everything import PATIENCE_SECONDS
from tests.systems.sme.embedders import Watched

PASSAGES = """
SELECT position, page, start, "end", text, embedding_model, embedding_dimensions,
       embedding::real[] AS embedding
FROM passages WHERE deleted_at IS NULL ORDER BY position
"""
TABLES = ("evidence", "passages", "bedplate.stored_files", "bedplate.jobs")


@pytest.fixture
def bedplate_system_name() -> str:
    """The system that is tested here."""
    return "sme"


@pytest.fixture
def bedplate_variables(bedplate_s3: dict[str, str]) -> Mapping[str, str]:
    """Evidence is kept as files."""
    return bedplate_s3


@pytest.fixture(autouse=True)
def _plain_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not depend on what this machine's environment says."""
    for variable in SmeSettings.variables():
        if variable in os.environ:
            monkeypatch.delenv(variable)


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What the jobs of this process embed with."""
    watched = Watched()
    monkeypatch.setattr(tasks, "load_embedder", lambda _name: watched)
    return watched


async def add_text(client: AsyncClient, text: str, **said: Any) -> Response:
    """POST a text as JSON."""
    return await client.post("/evidence", json={"title": "A text", "text": text, **said})


async def add_file(
    client: AsyncClient,
    data: bytes,
    *,
    name: str = "evidence.pdf",
    content_type: str = "application/pdf",
    **said: Any,
) -> Response:
    """POST a file as a browser would."""
    return await client.post("/evidence", files={"file": (name, data, content_type)}, data=said)


async def ingest(client: AsyncClient, run_job: RunJob, added: Response) -> dict[str, Any]:
    """Run the job of what was added; how the evidence stands then."""
    assert added.status_code == 202, added.text
    assert await run_job(added.json()["job_id"]) is Outcome.SUCCEEDED
    shown: dict[str, Any] = (await client.get(f"/evidence/{added.json()['id']}")).json()
    return shown


async def count_all(catalogue: Catalogue) -> dict[str, int]:
    """How many rows each table has, deleted ones among them."""
    return {table: (await catalogue(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}


async def until_ready(client: AsyncClient, evidence_id: str) -> dict[str, Any]:
    """Ask until its job, in another process, has embedded all of it; how it stands then."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            shown: dict[str, Any] = (await client.get(f"/evidence/{evidence_id}")).json()
            assert shown["status"] != "failed", shown
            if shown["status"] == "ready":
                return shown
            await asyncio.sleep(0.1)
