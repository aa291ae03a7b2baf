"""The sweeper leaves no object without a row and no row without its object; others it lets be."""

import dataclasses
from datetime import timedelta

import pytest

from bedplate.delivery.file_sweeper import HARMLESS_ORPHANS, FileSweeper
from bedplate.errors import BucketOwnerError, StorageUnreachableError, SweepRefusedError
from bedplate.files import ownership
from bedplate.files.file_store import NewFile
from bedplate.files.stored_files import StoredFile
from bedplate.layer import DataLayer
from tests.integration.files.conftest import Outside
from tests.integration.files.weed import Weed

TEXT = NewFile("a.txt", "text/plain")
DAY = timedelta(hours=24)


@pytest.fixture
def sweeper(files_layer: DataLayer) -> FileSweeper:
    """A sweeper of the test's layer."""
    return FileSweeper(files_layer)


async def store(layer: DataLayer, file: NewFile = TEXT) -> StoredFile:
    """One committed file."""
    async with layer.transaction() as uow:
        return await uow.store_file(b"hello", file)


async def leave_pending(layer: DataLayer) -> None:
    """A file whose transaction was rolled back."""
    with pytest.raises(ZeroDivisionError):
        async with layer.transaction() as uow:
            await uow.store_file(b"hello", TEXT)
            raise ZeroDivisionError


async def test_an_upload_in_time_is_left_alone(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Its transaction may still commit."""
    await leave_pending(files_layer)
    assert not await sweeper.sweep()
    assert await outside.states() == ["pending"]


async def test_an_upload_whose_time_is_over_goes_with_its_object(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Rolled back, cancelled or killed: nothing of it stays beyond the grace period (I8)."""
    await leave_pending(files_layer)
    kept = await store(files_layer)
    await outside.age("pending_until", 3601)
    swept = await sweeper.sweep()
    assert (swept.given_up, swept.deleted) == (1, 1)
    assert await outside.states() == ["gone", "committed"]
    assert await outside.keys() == {kept.key}


async def test_a_transaction_that_is_committing_a_file_is_not_swept(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Late, but its row is locked already: it commits, row and object."""
    async with files_layer.transaction() as uow:
        file = await uow.store_file(b"hello", TEXT)
        swept = await sweeper.sweep()
    assert not swept
    assert await outside.keys() == {file.key}
    assert await outside.states() == ["committed"]


async def test_a_deleted_file_keeps_its_object_for_the_retention(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """A backup from before the delete still finds every object it names."""
    file = await store(files_layer)
    async with files_layer.transaction() as uow:
        await uow.delete_file(file.id)
    retention = files_layer.settings.file_retention.total_seconds()
    await outside.age("deleted_at", retention - 60)
    assert not await sweeper.sweep()
    assert await outside.keys() == {file.key}
    await outside.age("deleted_at", 61)
    assert (await sweeper.sweep()).deleted == 1
    assert await outside.keys() == set()


async def test_an_expired_file_goes_at_once(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Row and object together, at its end and without retention."""
    file = await store(files_layer, dataclasses.replace(TEXT, expires_in=DAY))
    await outside.age("expires_at", DAY.total_seconds() - 60)
    assert not await sweeper.sweep()
    assert await outside.keys() == {file.key}
    await outside.age("expires_at", 61)
    swept = await sweeper.sweep()
    assert (swept.expired, swept.deleted) == (1, 1)
    assert await outside.states() == ["gone"]
    assert await outside.keys() == set()


@pytest.mark.fault(33, holds="I7 I8", every_run=True)
async def test_fault_33_an_upload_that_ends_after_its_sweep_is_deleted_again(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Its row remembers the key for a day, and has it deleted once more."""
    await leave_pending(files_layer)
    await outside.age("pending_until", 3601)
    await sweeper.sweep()
    (key,) = await outside.rows("SELECT key FROM bedplate.stored_files")
    await files_layer.files.objects.put(key, b"late", "text/plain")
    await outside.age("gone_at", DAY.total_seconds())
    assert (await sweeper.sweep()).forgotten == 1
    assert await outside.states() == []
    assert await outside.keys() == set()


@pytest.mark.fault(35, holds="I8", every_run=True)
async def test_fault_35_an_object_that_is_gone_already_is_no_error(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Deleted by hand, or by a sweeper that was killed before it said so."""
    await leave_pending(files_layer)
    await outside.store.delete(list(await outside.keys()))
    await outside.age("pending_until", 3601)
    assert (await sweeper.sweep()).deleted == 1
    assert await outside.states() == ["gone"]


@pytest.mark.fault(35, holds="I8")
async def test_fault_35_with_s3_down_nothing_is_forgotten(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper, weed: Weed
) -> None:
    """The row waits as deleted, and the next round deletes the object."""
    await leave_pending(files_layer)
    await outside.age("pending_until", 3601)
    weed.kill()
    try:
        with pytest.raises(StorageUnreachableError):
            await sweeper.sweep()
        assert await outside.states() == ["deleted"]
    finally:
        weed.start()
    await sweeper.sweep()
    assert await outside.states() == ["gone"]
    assert await outside.keys() == set()


async def test_an_object_without_a_row_is_noted_first_and_deleted_later(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """Quarantine: a week in which somebody may notice that it was no orphan."""
    kept = await store(files_layer)
    orphan = f"{files_layer.files.system}/2026/11/{'a' * 32}"
    foreign = f"{files_layer.files.system}/somebody-elses.txt"
    for key in (orphan, foreign):
        await outside.store.put(key, b"x", "text/plain")
    assert (await sweeper.sweep_orphans()).quarantined == 1
    assert not await sweeper.sweep_orphans()
    await outside.rows(
        "UPDATE bedplate.quarantined_objects SET noticed_at = noticed_at - interval '8 days'"
    )
    assert (await sweeper.sweep_orphans()).orphans == 1
    assert await outside.keys() == {kept.key, foreign}


async def test_an_object_that_got_its_row_leaves_the_quarantine(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """A backup was restored after the objects had been noted: its files stay."""
    file = await store(files_layer)
    await outside.rows(
        "INSERT INTO bedplate.quarantined_objects (bucket, key, size_bytes, noticed_at)"
        " SELECT bucket, key, 5, now() - interval '8 days' FROM bedplate.stored_files"
    )
    await sweeper.sweep_orphans()
    assert await outside.keys() == {file.key}
    assert await outside.rows("SELECT key FROM bedplate.quarantined_objects") == []


@pytest.mark.fault(49, holds="I7", every_run=True)
async def test_fault_49_too_many_orphans_are_refused(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """A database from before the files were stored must not empty the bucket."""
    bucket, system = files_layer.files.bucket.name, files_layer.files.system
    await outside.rows(
        "INSERT INTO bedplate.quarantined_objects (bucket, key, size_bytes, noticed_at)"
        " SELECT :bucket, format('%s/2026/11/%s', CAST(:system AS text), md5(n::text)), 1,"
        " now() - interval '8 days' FROM generate_series(1, :count) AS n",
        bucket=bucket,
        system=system,
        count=HARMLESS_ORPHANS + 1,
    )
    with pytest.raises(SweepRefusedError, match="have no row"):
        await sweeper.sweep_orphans()
    assert (await sweeper.sweep_orphans(is_approved=True)).orphans == HARMLESS_ORPHANS + 1


@pytest.mark.fault(49, holds="I7", every_run=True)
async def test_fault_49_a_copy_of_the_database_deletes_nothing(
    files_layer: DataLayer, outside: Outside, sweeper: FileSweeper
) -> None:
    """The guard object names another database: not one object goes."""
    await leave_pending(files_layer)
    await outside.age("pending_until", 3601)
    async with files_layer.owner_database.engine.connect() as connection:
        here = await ownership.identify(connection, files_layer.owner_database.url)
    original = dataclasses.replace(here, host="production.example.com")
    await ownership.claim(outside.store, files_layer.files.system, original)
    with pytest.raises(BucketOwnerError, match=r"production\.example\.com"):
        await sweeper.sweep()
    assert await outside.states() == ["deleted"]
    assert len(await outside.keys()) == 1
    await ownership.adopt(outside.store, files_layer.files.system, here)
    assert (await sweeper.sweep()).deleted == 1
