"""Files commit with the transaction that stores them, or nothing of them stays."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bedplate.errors import (
    FileTooLargeError,
    NotFoundError,
    ObjectExistsError,
    SettingsError,
    UploadEndedError,
)
from bedplate.files import stored_files
from bedplate.files.file_store import NewFile
from bedplate.files.object_store import ONE_PUT_BYTES
from bedplate.files.stored_files import FileState
from bedplate.layer import DataLayer
from tests.integration.files.conftest import Outside

TEXT = NewFile("a.txt", "text/plain")


async def _pieces(count: int, size_bytes: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size_bytes


async def test_a_committed_file_is_whole(files_layer: DataLayer, outside: Outside) -> None:
    """Row and object agree on size and SHA-256, and what is read is what was stored (I7)."""
    async with files_layer.transaction() as uow:
        file = await uow.store_file(b"hello", TEXT)
        assert file.state is FileState.COMMITTED
    assert (file.size_bytes, file.sha256) == (5, hashlib.sha256(b"hello").digest())
    assert await files_layer.files.read(file) == b"hello"
    assert await outside.keys() == {file.key}


@pytest.mark.parametrize("size_bytes", [0, 1, ONE_PUT_BYTES, ONE_PUT_BYTES + 1])
async def test_every_size_is_stored(files_layer: DataLayer, size_bytes: int) -> None:
    """Nothing, one byte, the most that goes in one request, and the least that goes in parts."""
    data = bytes(range(256)) * (size_bytes // 256) + b"x" * (size_bytes % 256)
    async with files_layer.transaction() as uow:
        file = await uow.store_file(data, TEXT)
    assert file.size_bytes == size_bytes
    assert await files_layer.files.read(file) == data


async def test_a_stream_is_stored_in_parts(files_layer: DataLayer) -> None:
    """A file of unknown length, larger than one request, and never whole in memory."""
    async with files_layer.transaction() as uow:
        file = await uow.store_file(_pieces(30, 1_000_000), TEXT)
    assert file.size_bytes == 30_000_000
    await files_layer.files.verify(file)


async def test_a_rolled_back_file_is_not_there(files_layer: DataLayer, outside: Outside) -> None:
    """No committed row; the object is named by its pending row until the sweep (I1, I8)."""
    with pytest.raises(ZeroDivisionError):
        async with files_layer.transaction() as uow:
            await uow.store_file(b"hello", TEXT)
            raise ZeroDivisionError
    assert await outside.states() == ["pending"]
    assert await outside.keys() == set(await outside.rows("SELECT key FROM bedplate.stored_files"))


async def test_a_cancelled_upload_commits_nothing(files_layer: DataLayer, outside: Outside) -> None:
    """The client goes away in the middle of its bytes."""
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            begun.set()
            await asyncio.sleep(0)

    async def upload() -> None:
        async with files_layer.transaction() as uow:
            await uow.store_file(endless(), TEXT)

    task = asyncio.create_task(upload())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await outside.states() == ["pending"]
    assert await outside.keys() == set()


async def test_too_many_bytes_are_refused(files_layer: DataLayer, outside: Outside) -> None:
    """At the first byte too many, and what was sent of it may be swept at once."""
    with pytest.raises(FileTooLargeError):
        async with files_layer.transaction() as uow:
            await uow.store_file(_pieces(3, 100), TEXT, limit_bytes=299)
    assert await outside.states() == ["deleted"]
    assert await outside.keys() == set()


async def test_an_upload_that_was_swept_does_not_commit(
    files_layer: DataLayer, outside: Outside
) -> None:
    """The sweeper took the row while the bytes were on their way: no row without its object."""

    async def slow() -> AsyncIterator[bytes]:
        yield b"half"
        await outside.rows(
            "UPDATE bedplate.stored_files SET state = 'deleted', pending_until = NULL,"
            " deleted_at = now()"
        )
        yield b"half"

    with pytest.raises(UploadEndedError):
        async with files_layer.transaction() as uow:
            await uow.store_file(slow(), TEXT)
    assert await outside.named_keys() == set()


async def test_many_uploads_at_once_do_not_wait_for_each_other(
    files_layer: DataLayer, outside: Outside
) -> None:
    """Each holds a connection of the serving pool and needs another for its pending row."""

    async def store() -> None:
        async with files_layer.transaction() as uow:
            await uow.flush()
            await uow.scalars(stored_files.stored_files.select())
            await uow.store_file(b"x", TEXT)

    settings = files_layer.settings
    await asyncio.gather(*(store() for _ in range(settings.pool_size + settings.max_overflow)))
    assert set(await outside.states()) == {"committed"}


async def test_a_deleted_file_is_not_readable_and_its_object_stays(
    files_layer: DataLayer, outside: Outside
) -> None:
    """A delete is a row first and an object after the retention: backups name objects."""
    async with files_layer.transaction() as uow:
        file = await uow.store_file(b"hello", TEXT)
    for _ in range(2):
        async with files_layer.transaction() as uow:
            await uow.delete_file(file.id)
    async with files_layer.reading() as session:
        with pytest.raises(NotFoundError):
            await stored_files.load_readable(session, file.id)
    assert await outside.keys() == {file.key}


async def test_a_file_that_expires_is_unreadable_from_then_on(
    files_layer: DataLayer, outside: Outside
) -> None:
    """At its end, and not only when the sweeper comes by; its key is below expiring/."""
    day = NewFile("a.txt", "text/plain", expires_in=timedelta(hours=24))
    async with files_layer.transaction() as uow:
        file = await uow.store_file(b"hello", day)
    assert file.key.startswith("expiring/")
    await outside.age("expires_at", 23 * 3600)
    async with files_layer.reading() as session:
        assert (await stored_files.load_readable(session, file.id)).id == file.id
    await outside.age("expires_at", 3601)
    async with files_layer.reading() as session:
        with pytest.raises(NotFoundError):
            await stored_files.load_readable(session, file.id)


async def test_one_of_sixteen_wins_a_key(files_layer: DataLayer) -> None:
    """Written once: whoever comes second is told so and changes nothing."""
    objects = files_layer.files.objects
    key = f"{files_layer.files.system}/2026/11/{'0' * 32}"

    async def put(number: int) -> int | None:
        try:
            await objects.put(key, b"%d" % number, "text/plain")
        except ObjectExistsError:
            return None
        return number

    winners = [each for each in await asyncio.gather(*map(put, range(16))) if each is not None]
    assert len(winners) == 1
    assert await objects.read(key) == b"%d" % winners[0]


async def test_without_a_bucket_files_say_what_is_missing(layer: DataLayer) -> None:
    """S3 is optional: everything else works, and only files ask for the variable."""
    with pytest.raises(SettingsError, match="AWS_BUCKET_NAME") as raised:
        async with layer.transaction() as uow:
            await uow.store_file(b"", TEXT)
    assert raised.value.hint
