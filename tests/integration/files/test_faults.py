"""S3 that answers wrongly, and processes that die in every step of an upload."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.errors import FileMismatchError, ObjectDeniedError, StorageUnreachableError
from bedplate.failpoints import EXIT_STATUS
from bedplate.files.bucket import Bucket
from bedplate.files.clients import MAX_RETRIES
from bedplate.files.file_store import NewFile
from bedplate.files.object_store import ONE_PUT_BYTES, ObjectStore
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from tests.integration.files.conftest import Outside
from tests.integration.files.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.integration.files.weed import S3
from tests.texts import ROOT

TEXT = NewFile("a.txt", "text/plain")
HOUR = timedelta(hours=1)
LARGE = b"x" * (ONE_PUT_BYTES + 1)

STORE = """
import asyncio, sys
from bedplate import DataLayer
from bedplate.files.file_store import NewFile
async def main():
    async with DataLayer.from_environment(sys.argv[1]) as layer:
        async with layer.transaction() as uow:
            await uow.store_file(b"x" * int(sys.argv[2]), NewFile("a.txt"))
asyncio.run(main())
"""
SWEEP = """
import asyncio, sys
from bedplate import DataLayer
from bedplate.delivery.file_sweeper import FileSweeper
async def main():
    async with DataLayer.from_environment(sys.argv[1]) as layer:
        await FileSweeper(layer).sweep()
asyncio.run(main())
"""


@pytest.fixture
def proxy(s3: S3) -> Iterator[FaultProxy]:
    """A proxy before the tests' S3."""
    with fault_proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def faulty_layer(
    committed: ScratchDatabase, s3: S3, proxy: FaultProxy, system: str
) -> AsyncIterator[DataLayer]:
    """A layer whose S3 is behind the proxy."""
    settings = committed.settings(**s3.variables(endpoint=proxy.endpoint))
    async with DataLayer(settings, name=system) as layer:
        yield layer


@pytest.fixture
def behind(faulty_layer: DataLayer, s3: S3) -> Outside:
    """Rows and bucket of that layer, past the proxy."""
    settings = faulty_layer.settings.model_copy(update={"s3_endpoint_url": s3.endpoint})
    return Outside(faulty_layer, ObjectStore(Bucket.from_settings(settings)))


@pytest.mark.fault(34, holds="I7")
@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.LOST_ANSWER, Fault.WRONG_ETAG])
@pytest.mark.parametrize("data", [b"hello", LARGE], ids=["one put", "parts"])
async def test_fault_34_what_passes_is_borne(
    faulty_layer: DataLayer, behind: Outside, proxy: FaultProxy, fault: Fault, data: bytes
) -> None:
    """503, an answer that is lost, an ETag that is wrong: tried again, and stored once (I7)."""
    proxy.fail("PUT", fault, query="" if data is not LARGE else "partNumber=1")
    if fault is Fault.WRONG_ETAG and data is LARGE:
        # Of its parts S3 is told the ETags, and refuses what it did not give.
        with pytest.raises(ObjectDeniedError, match="InvalidPart"):
            await _store(faulty_layer, data)
        assert await behind.keys() == set()
        return
    file_key = await _store(faulty_layer, data)
    assert proxy.is_used_up
    assert await behind.keys() == {file_key}
    assert await behind.store.read(file_key) == data


@pytest.mark.fault(34, holds="I7", every_run=True)
@pytest.mark.bad_day("S3 stays overloaded", sees="`StorageUnreachableError`; nothing committed")
async def test_fault_34_s3_that_stays_overloaded_is_unreachable(
    faulty_layer: DataLayer, behind: Outside, proxy: FaultProxy
) -> None:
    """A 503 of ours after few tries; nothing is committed."""
    proxy.fail("PUT", Fault.SLOW_DOWN, times=MAX_RETRIES + 1)
    with pytest.raises(StorageUnreachableError, match="SlowDown"):
        await _store(faulty_layer, b"hello")
    assert await behind.named_keys() == set()


@pytest.mark.fault(34, holds="I7")
@pytest.mark.parametrize("data", [b"hello", LARGE], ids=["one put", "parts"])
async def test_fault_34_bytes_that_change_on_the_way_do_not_commit(
    faulty_layer: DataLayer, behind: Outside, proxy: FaultProxy, data: bytes
) -> None:
    """Every request carries the SHA-256 of its bytes, and S3 refuses others (I7)."""
    proxy.fail("PUT", Fault.CORRUPT_REQUEST, times=MAX_RETRIES + 1)
    with pytest.raises(FileMismatchError):
        await _store(faulty_layer, data)
    assert await behind.named_keys() == set()
    assert await behind.keys() == set()


@pytest.mark.fault(34, holds="I7", every_run=True)
async def test_fault_34_an_error_that_says_200_does_not_commit(
    faulty_layer: DataLayer, behind: Outside, proxy: FaultProxy
) -> None:
    """CompleteMultipartUpload may answer 200 with an error in it: never a file without bytes."""
    proxy.fail("POST", Fault.ERROR_AS_200, times=MAX_RETRIES + 1, query="uploadId=")
    with pytest.raises(StorageUnreachableError):
        await _store(faulty_layer, LARGE)
    assert await behind.named_keys() == set()


@pytest.mark.fault(36, holds="I8", every_run=True)
async def test_fault_36_a_cancelled_upload_takes_its_parts_along(
    files_layer: DataLayer, outside: Outside
) -> None:
    """Parts cost money and no listing shows them."""
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for number in itertools.count():
            yield bytes(1_000_000)
            if number * 1_000_000 > 2 * ONE_PUT_BYTES:
                begun.set()
                await asyncio.sleep(0)

    task = asyncio.create_task(files_layer.files.send(endless(), TEXT))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await outside.store.abort_uploads(f"{files_layer.files.system}/", tomorrow) == 0
    assert await outside.keys() == set()


@pytest.mark.fault(34, holds="I7", every_run=True)
@pytest.mark.parametrize("fault", [Fault.TRUNCATED_ANSWER, Fault.CORRUPT_ANSWER])
async def test_fault_34_a_download_that_is_not_the_file_fails(
    faulty_layer: DataLayer, proxy: FaultProxy, fault: Fault
) -> None:
    """Cut or changed on the way: raised before the last byte, never taken for the file."""
    async with faulty_layer.transaction() as uow:
        file = await uow.store_file(b"hello" * 1000, TEXT)
    proxy.fail("GET", fault, times=MAX_RETRIES + 1)
    with pytest.raises((StorageUnreachableError, FileMismatchError)):
        await faulty_layer.files.read(file)


@pytest.mark.fault(1, 36, holds="I1 I8 I11")
@pytest.mark.parametrize(
    ("step", "size_bytes", "objects"),
    [
        ("files.after_pending", 5, 0),
        ("files.after_put", 5, 1),
        ("files.before_complete", len(LARGE), 0),
        ("files.after_put", len(LARGE), 1),
        ("tx.before_commit", 5, 1),
    ],
)
async def test_fault_01_a_process_killed_in_an_upload_leaves_nothing(
    committed: ScratchDatabase,
    files_layer: DataLayer,
    outside: Outside,
    step: str,
    size_bytes: int,
    objects: int,
) -> None:
    """No committed row; the sweep takes object, parts and row."""
    _killed_at(step, STORE, files_layer, committed, str(size_bytes))
    assert await outside.states() == ["pending"]
    assert len(await outside.keys()) == objects
    await outside.age("pending_until", 3601)
    sweeper = FileSweeper(files_layer)
    await sweeper.sweep()
    assert await outside.states() == ["gone"]
    assert await outside.keys() == set()
    if step == "files.before_complete":
        impatient = files_layer.settings.model_copy(
            update={"file_grace": -files_layer.settings.file_grace}
        )
        sweeper._settings = impatient
        assert (await sweeper.sweep_orphans()).aborted == 1
        assert (await sweeper.sweep_orphans()).aborted == 0


@pytest.mark.fault(3, holds="I2 I3", every_run=True)
async def test_fault_03_a_process_killed_after_its_commit_keeps_the_file(
    committed: ScratchDatabase, files_layer: DataLayer, outside: Outside
) -> None:
    """All is there, though nobody was told (I2)."""
    _killed_at("tx.after_commit", STORE, files_layer, committed, "5")
    assert await outside.states() == ["committed"]
    assert await outside.keys() == await outside.named_keys()


@pytest.mark.fault(6, holds="I7 I8", every_run=True)
async def test_fault_06_a_sweeper_killed_in_its_batch_is_taken_over(
    committed: ScratchDatabase, files_layer: DataLayer, outside: Outside
) -> None:
    """Objects gone and rows not yet: the next round deletes them again and says so."""
    for _ in range(3):
        async with files_layer.transaction() as uow:
            file = await uow.store_file(b"hello", TEXT)
            await uow.flush()
        async with files_layer.transaction() as uow:
            await uow.delete_file(file.id)
    kept = await _store(files_layer, b"kept")
    await outside.age("deleted_at", files_layer.settings.file_retention.total_seconds())
    _killed_at("sweeper.after_delete", SWEEP, files_layer, committed)
    assert await outside.states() == ["deleted", "deleted", "deleted", "committed"]
    assert await outside.keys() == {kept}
    assert (await FileSweeper(files_layer).sweep()).deleted == 3
    assert await outside.states() == ["gone", "gone", "gone", "committed"]


async def _store(layer: DataLayer, data: bytes) -> str:
    async with layer.transaction() as uow:
        return (await uow.store_file(data, TEXT)).key


def _killed_at(
    step: str, program: str, layer: DataLayer, database: ScratchDatabase, *arguments: str
) -> None:
    """Run a program that ends, as by kill -9, in this step."""
    settings = layer.settings
    assert settings.aws_access_key_id is not None
    assert settings.aws_secret_access_key is not None
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **database.variables(),
        "BEDPLATE_FAILPOINTS": f"{step}=exit",
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        "AWS_BUCKET_NAME": settings.bucket_name(),
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key.get_secret_value(),
    }
    ended = subprocess.run(
        [sys.executable, "-c", program, layer.name, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == EXIT_STATUS, ended.stderr
