"""The file of an upload: stored with its text, downloaded by a link, deleted with its document."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from httpx import AsyncClient

from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.failpoints import EXIT_STATUS
from bedplate.files import ownership
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from tests.systems.conftest import BASE_URL, Catalogue, assert_problem
from tests.systems.librilabs.conftest import NOTHING, count_all, upload, upload_id
from tests.texts import ROOT

FILES = "SELECT id, state, key, size_bytes, file_name FROM bedplate.stored_files ORDER BY id"
NAMED = """
SELECT file.state FROM documents
LEFT JOIN bedplate.stored_files AS file ON file.id = documents.original_file_id
"""
UPLOAD = """
import asyncio, httpx
from bedplate import DataLayer
from systems.librilabs.app import create_app
async def main():
    async with DataLayer.from_environment("librilabs") as layer:
        transport = httpx.ASGITransport(create_app(layer))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            await client.post(
                "/documents",
                files={"file": ("a.txt", b"text", "text/plain")},
                data={"source_language": "en"},
            )
asyncio.run(main())
"""


@pytest.fixture
def variables(committed: ScratchDatabase, s3_variables: dict[str, str]) -> dict[str, str]:
    """The environment of a librilabs that keeps files."""
    return {**committed.variables(), **s3_variables}


@pytest.fixture
async def layer(variables: dict[str, str]) -> AsyncIterator[DataLayer]:
    """An open layer with files, in the place of the one without."""
    async with DataLayer(Settings.load("librilabs", variables), name="librilabs") as layer:
        yield layer


@pytest.fixture
async def fileless(
    committed: ScratchDatabase, librilabs: System
) -> AsyncIterator[tuple[DataLayer, AsyncClient]]:
    """A layer without S3, and a reader of it."""
    async with DataLayer(committed.settings(), name="librilabs") as layer:
        transport = httpx.ASGITransport(librilabs.create_app(layer))
        async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
            yield layer, client


async def test_a_download_yields_the_bytes_that_were_uploaded(
    client: AsyncClient, novel: str
) -> None:
    """The text in the row has lost its byte order mark; the file has not."""
    data = b"\xef\xbb\xbf" + novel.encode()
    document = (await upload(client, data, name="Lügen & Wahrheit.txt")).json()["id"]

    answer = await client.get(f"/documents/{document}/original")

    assert answer.status_code == 307
    assert "no-store" in answer.headers["cache-control"]
    file = await _fetch(answer.headers["location"])
    assert file.content == data
    assert file.headers["content-type"] == "text/plain"
    disposition = file.headers["content-disposition"]
    assert disposition.startswith("attachment; ")
    assert "filename*=UTF-8''L%C3%BCgen%20&%20Wahrheit.txt" in disposition


async def test_an_empty_file_is_kept_too(client: AsyncClient) -> None:
    """Nothing is wrong with a file of no bytes."""
    document = await upload_id(client, "")
    answer = await client.get(f"/documents/{document}/original")
    assert (await _fetch(answer.headers["location"])).content == b""


async def test_the_link_ends_within_five_minutes(client: AsyncClient) -> None:
    """Whoever has it may read the file until then: history, logs, a shared screen."""
    document = await upload_id(client, "text")
    answer = await client.get(f"/documents/{document}/original")
    assert 0 < int(httpx.URL(answer.headers["location"]).params["X-Amz-Expires"]) <= 300


async def test_another_reader_gets_no_link(client: AsyncClient, stranger: AsyncClient) -> None:
    """And is not told whether there is such a document."""
    document = await upload_id(client, "text")
    foreign = await stranger.get(f"/documents/{document}/original")
    absent = await stranger.get(f"/documents/{uuid.uuid4()}/original")
    assert_problem(foreign, 404)
    assert foreign.json()["code"] == absent.json()["code"] == "not_found"


async def test_a_refused_upload_keeps_no_file(client: AsyncClient, catalogue: Catalogue) -> None:
    """What is no text is refused before anything of it is sent to the bucket."""
    assert_problem(await upload(client, b"\xff\xfe"), 415)
    assert await catalogue(FILES) == []


async def test_deleting_the_document_deletes_its_file_after_the_retention(
    client: AsyncClient, layer: DataLayer, catalogue: Catalogue
) -> None:
    """In one transaction; the object stays as long as a backup may name it."""
    await _adopt(layer)
    kept = await upload_id(client, "kept")
    document = await upload_id(client, "deleted")
    link = (await client.get(f"/documents/{document}/original")).headers["location"]

    assert (await client.delete(f"/documents/{document}")).status_code == 204

    assert_problem(await client.get(f"/documents/{document}/original"), 404)
    assert [row["state"] for row in await catalogue(FILES)] == ["committed", "deleted"]
    assert (await FileSweeper(layer).sweep()).deleted == 0
    assert (await _fetch(link)).content == b"deleted"
    retention = layer.settings.file_retention
    await catalogue(
        "UPDATE bedplate.stored_files SET deleted_at = deleted_at - $1::interval", retention
    )
    assert (await FileSweeper(layer).sweep()).deleted == 1
    assert (await _fetch(link)).status_code == 404
    answer = await client.get(f"/documents/{kept}/original")
    assert (await _fetch(answer.headers["location"])).content == b"kept"


async def test_a_row_that_outlives_its_file_says_so(
    client: AsyncClient, layer: DataLayer, catalogue: Catalogue
) -> None:
    """Somebody deleted the file alone: the text stays, and forgetting the file is no error."""
    await _adopt(layer)
    document = await upload_id(client, "text")
    ((file_id, *_),) = await catalogue(FILES)
    async with layer.transaction() as uow:
        await uow.delete_file(file_id)
    gone = await client.get(f"/documents/{document}/original")
    assert_problem(gone, 404)
    assert gone.json()["code"] == "original_missing"
    long_ago = layer.settings.file_retention * 2
    for column in ("deleted_at", "gone_at"):
        await catalogue(
            f"UPDATE bedplate.stored_files SET {column} = {column} - $1::interval", long_ago
        )
        await FileSweeper(layer).sweep()
    assert await catalogue(FILES) == []
    assert (await client.delete(f"/documents/{document}")).status_code == 204


@pytest.mark.parametrize("step", ["files.after_pending", "files.after_put", "tx.before_commit"])
async def test_an_upload_killed_before_its_commit_leaves_neither_row_nor_name(
    catalogue: Catalogue, layer: DataLayer, variables: dict[str, str], step: str
) -> None:
    """The file's row is pending, and the sweep takes it and its object."""
    await _adopt(layer)
    await _killed_at(step, variables)
    assert await count_all(catalogue) == NOTHING
    ((_, state, key, *_),) = await catalogue(FILES)
    assert state == "pending"
    await catalogue("UPDATE bedplate.stored_files SET pending_until = now()")
    await FileSweeper(layer).sweep()
    assert key not in {each.key for each in await layer.files.objects.page(key)}


async def test_an_upload_killed_after_its_commit_is_whole(
    catalogue: Catalogue, layer: DataLayer, variables: dict[str, str]
) -> None:
    """Nobody was told, and yet the document names a file whose object is there."""
    await _killed_at("tx.after_commit", variables)
    assert [row["state"] for row in await catalogue(NAMED)] == ["committed"]
    ((_, _, key, *_),) = await catalogue(FILES)
    assert await layer.files.objects.read(key) == b"text"


async def test_a_commit_that_fails_leaves_no_document_and_no_committed_file(
    client: AsyncClient, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 5xx, and the object belongs to a row that the sweeper knows."""
    monkeypatch.setenv("BEDPLATE_FAILPOINTS", "tx.before_commit=raise")
    assert_problem(await upload(client, "text"), 500)
    assert await count_all(catalogue) == NOTHING
    assert [row["state"] for row in await catalogue(FILES)] == ["pending"]


@pytest.mark.bad_day("S3 is down at an upload", sees="503 `storage_unreachable`; no row, no file")
async def test_s3_that_is_down_refuses_the_upload_for_now(
    variables: dict[str, str], librilabs: System, catalogue: Catalogue
) -> None:
    """503 and when to come again; no document without its file. Reading goes on."""
    down = {**variables, "S3_ENDPOINT_URL": "http://127.0.0.1:1"}
    async with DataLayer(Settings.load("librilabs", down), name="librilabs") as layer:
        transport = httpx.ASGITransport(librilabs.create_app(layer))
        async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
            refused = await upload(client, "text")
            listed = await client.get("/documents")
    assert_problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["code"] == "storage_unreachable"
    assert listed.json()["items"] == []
    assert await count_all(catalogue) == NOTHING
    assert {row["state"] for row in await catalogue(FILES)} == {"deleted"}


async def test_without_s3_texts_are_stored_without_their_files(
    fileless: tuple[DataLayer, AsyncClient], catalogue: Catalogue
) -> None:
    """Files are optional; who asks for one is told why there is none."""
    _, client = fileless
    document = await upload_id(client, "text")

    answer = await client.get(f"/documents/{document}/original")

    assert_problem(answer, 404)
    assert answer.json()["code"] == "original_missing"
    assert "stored without its file" in answer.json()["detail"]
    assert await catalogue(FILES) == []
    assert (await client.delete(f"/documents/{document}")).status_code == 204


async def test_where_s3_was_taken_away_the_rest_of_a_document_works(
    client: AsyncClient, fileless: tuple[DataLayer, AsyncClient], catalogue: Catalogue
) -> None:
    """The text is read and the document deleted; the file waits for a server that has S3."""
    document = await upload_id(client, "text")
    _, without = fileless
    without.cookies = client.cookies
    answer = await without.get(f"/documents/{document}/original")
    assert_problem(answer, 404)
    assert "no S3" in answer.json()["detail"]
    assert (await without.delete(f"/documents/{document}")).status_code == 204
    assert [row["state"] for row in await catalogue(FILES)] == ["deleted"]


async def _fetch(link: str) -> httpx.Response:
    async with AsyncClient() as client:
        return await client.get(link)


async def _adopt(layer: DataLayer) -> None:
    """The run's workers share a bucket: this one's database may delete there from now on."""
    async with layer.owner_database.engine.connect() as connection:
        owner = await ownership.identify(connection, layer.owner_database.url)
    await ownership.adopt(layer.files.objects, layer.files.system, owner)


async def _killed_at(step: str, variables: dict[str, str]) -> None:
    """An upload in a process that ends, as by kill -9, in this step."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, **variables, "BEDPLATE_FAILPOINTS": f"{step}=exit"}
    ended = await asyncio.to_thread(_run, environment, ROOT)
    assert ended.returncode == EXIT_STATUS, ended.stderr


def _run(environment: dict[str, str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", UPLOAD],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
