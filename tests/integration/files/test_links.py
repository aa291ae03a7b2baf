"""Links: what a browser may do with one, and for how long; nothing beyond it (attack 11)."""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.errors import (
    FileMismatchError,
    NotFoundError,
    ObjectNotFoundError,
    UploadEndedError,
)
from bedplate.files.file_store import NewFile, Upload
from bedplate.layer import DataLayer
from tests.integration.files.conftest import Outside

HELLO = b"hello"
TEXT = NewFile("a.txt", "text/plain")


async def begin(layer: DataLayer, data: bytes = HELLO) -> Upload:
    """An upload for exactly these bytes."""
    digest = hashlib.sha256(data).digest()
    return await layer.files.begin_upload(TEXT, size_bytes=len(data), sha256=digest)


async def put(upload: Upload, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    """What a browser does with the link: the status it gets."""
    sent = {**upload.link.headers, **(headers or {})}
    sent["Content-Length"] = str(len(body))
    async with httpx.AsyncClient() as client:
        return (await client.put(upload.link.url, content=body, headers=sent)).status_code


async def test_an_upload_from_a_browser_commits(files_layer: DataLayer, outside: Outside) -> None:
    """Pending, put by the browser, compared, committed."""
    upload = await begin(files_layer)
    assert await put(upload, HELLO) == 200
    async with files_layer.transaction() as uow:
        file = await uow.complete_upload(upload.file_id)
    assert (file.size_bytes, file.sha256) == (5, hashlib.sha256(HELLO).digest())
    assert await outside.states() == ["committed"]
    assert await files_layer.files.read(file) == HELLO


@pytest.mark.fault(33, holds="I7 I8")
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"hello!", {}),
        (b"hell", {}),
        (b"HELLO", {}),
        (HELLO, {"Content-Type": "text/html"}),
        (HELLO, {"x-amz-checksum-sha256": "A" * 43 + "="}),
        (HELLO, {"If-None-Match": '"x"'}),
    ],
    ids=["longer", "shorter", "other bytes", "other type", "other checksum", "overwriting"],
)
async def test_fault_33_only_the_declared_bytes_are_taken(
    files_layer: DataLayer, outside: Outside, body: bytes, headers: dict[str, str]
) -> None:
    """Length, type, checksum and write-once are signed: anything else is refused."""
    upload = await begin(files_layer)
    assert await put(upload, body, headers) in {400, 403, 412}
    assert await outside.keys() == set()
    with pytest.raises(ObjectNotFoundError):
        async with files_layer.transaction() as uow:
            await uow.complete_upload(upload.file_id)


@pytest.mark.fault(33, holds="I7 I8", every_run=True)
async def test_fault_33_a_link_puts_once(files_layer: DataLayer) -> None:
    """Used again it changes nothing."""
    upload = await begin(files_layer)
    assert await put(upload, HELLO) == 200
    assert await put(upload, HELLO) == 412


async def test_a_link_is_for_one_key(files_layer: DataLayer, outside: Outside) -> None:
    """Its signature is void for any other."""
    upload = await begin(files_layer)
    link = upload.link.url
    path = urlsplit(link).path
    async with httpx.AsyncClient() as client:
        answer = await client.put(
            link.replace(path, path[:-1] + ("1" if path[-1] == "0" else "0")),
            content=HELLO,
            headers=dict(upload.link.headers),
        )
    assert answer.status_code == 403
    assert await outside.keys() == set()


async def test_an_upload_is_completed_once(files_layer: DataLayer) -> None:
    """The second time it is not pending any more."""
    upload = await begin(files_layer)
    await put(upload, HELLO)
    async with files_layer.transaction() as uow:
        await uow.complete_upload(upload.file_id)
    with pytest.raises(UploadEndedError):
        async with files_layer.transaction() as uow:
            await uow.complete_upload(upload.file_id)


async def test_other_bytes_under_the_key_do_not_commit(
    files_layer: DataLayer, outside: Outside
) -> None:
    """Whatever way they came there: the object is compared with its row."""
    upload = await begin(files_layer)
    (key,) = await outside.rows("SELECT key FROM bedplate.stored_files")
    await outside.store.put(key, b"HELLO", "text/plain")
    with pytest.raises(FileMismatchError):
        async with files_layer.transaction() as uow:
            await uow.complete_upload(upload.file_id)


@pytest.mark.fault(33, holds="I7 I8", every_run=True)
async def test_fault_33_an_upload_after_its_sweep_does_not_commit(
    files_layer: DataLayer, outside: Outside
) -> None:
    """Begun in time and ended too late: no row, and the object goes with what is left of it."""
    upload = await begin(files_layer)
    await outside.age("pending_until", 3600 + 601)
    sweeper = FileSweeper(files_layer, memory=timedelta(0))
    await sweeper.sweep()
    await put(upload, HELLO)
    with pytest.raises((UploadEndedError, NotFoundError)):
        async with files_layer.transaction() as uow:
            await uow.complete_upload(upload.file_id)


async def test_a_download_is_an_attachment_under_its_name(files_layer: DataLayer) -> None:
    """A page of somebody's must not be shown as ours: saved, and under the name it had."""
    page = NewFile('Über "x"\r\nSet-Cookie: a=b.html', "text/html")
    async with files_layer.transaction() as uow:
        file = await uow.store_file(b"<script>", page)
    link = await files_layer.files.link(file)
    assert int(parse_qs(urlsplit(link).query)["X-Amz-Expires"][0]) == 300
    async with httpx.AsyncClient() as client:
        answer = await client.get(link)
        assert (answer.status_code, answer.content) == (200, b"<script>")
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith("attachment; filename=")
        assert "filename*=UTF-8''%C3%9Cber" in disposition
        assert "set-cookie" not in answer.headers
        changed = link.replace("attachment", "inline")
        assert changed != link
        assert (await client.get(changed)).status_code == 403


@pytest.mark.fault(33, holds="I7 I8", every_run=True)
async def test_fault_33_a_link_ends(files_layer: DataLayer) -> None:
    """After its time it opens nothing."""
    async with files_layer.transaction() as uow:
        file = await uow.store_file(HELLO, TEXT)
    link = await files_layer.files.link(file, expires_in=timedelta(seconds=1))
    async with httpx.AsyncClient() as client:
        for _ in range(100):
            status = (await client.get(link)).status_code
            if status != 200:
                break
            await asyncio.sleep(0.1)
    assert status == 403


async def test_no_link_outlives_five_minutes(files_layer: DataLayer) -> None:
    """Whatever the caller asks for."""
    async with files_layer.transaction() as uow:
        file = await uow.store_file(HELLO, TEXT)
    link = await files_layer.files.link(file, expires_in=timedelta(days=7))
    assert "X-Amz-Expires=300" in link
