"""S3's disk is full, or read-only: faults 31 and 32, with a server of the test's own.

A small disk is mounted where the tests run as root. Everywhere the kernel can refuse the server
any write beyond a size, which it meets in the same places with another error.
"""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.errors import ServerError, StorageUnreachableError
from bedplate.files.bucket import Bucket
from bedplate.files.file_store import NewFile
from bedplate.files.object_store import ONE_PUT_BYTES, ObjectStore
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from tests.integration.files.conftest import Outside
from tests.integration.files.weed import Weed

DISK = "size=48m,mode=700"
AS_ROOT = os.geteuid() == 0
ANY = NewFile("a.bin")
# What cannot be compressed; SeaweedFS compresses text.
# Objects do not fit below it, SeaweedFS' own database does.
DATA_LIMIT = 200_000
KEPT, ONE_PUT, PARTS = os.urandom(10_000), os.urandom(1_000_000), os.urandom(ONE_PUT_BYTES + 1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with little room; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not AS_ROOT or not _mounted(folder):
        pytest.skip("a disk can be mounted by root only, and in few containers")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(params=["full disk", "size limit"])
def full_weed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["FullWeed"]:
    """A server whose disk can be filled and freed."""
    is_disk = request.param == "full disk"
    folder = request.getfixturevalue("disk") if is_disk else tmp_path
    weed = Weed(folder / "state")
    try:
        weed.start()
        yield FullWeed(weed, folder / "filler" if is_disk else None)
    finally:
        weed.stop()


class FullWeed:
    """A server, and how its disk is filled: by another file, or by a limit on the process."""

    def __init__(self, weed: Weed, filler: Path | None) -> None:
        self.weed = weed
        self._filler = filler

    def fill(self) -> None:
        """Nothing more can be written."""
        if self._filler is None:
            limit_writes(self.weed, DATA_LIMIT)
            return
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        assert shutil.disk_usage(self._filler.parent).free == 0

    def free(self) -> None:
        """There is room again."""
        if self._filler is None:
            limit_writes(self.weed, resource.RLIM_INFINITY)
        else:
            self._filler.unlink()


def limit_writes(weed: Weed, size_bytes: int) -> None:
    """Refuse the server every write that ends beyond this place of a file."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux limits what another process writes")
    limits = (size_bytes, resource.RLIM_INFINITY)
    resource.prlimit(weed.pid, resource.RLIMIT_FSIZE, limits)


@pytest.fixture
async def full_layer(
    committed: ScratchDatabase, full_weed: FullWeed, system: str
) -> AsyncIterator[DataLayer]:
    """A layer whose files are there."""
    settings = committed.settings(**full_weed.weed.s3.variables())
    async with DataLayer(settings, name=system) as layer:
        yield layer


@pytest.mark.fault(31, holds="I2 I7")
@pytest.mark.parametrize("data", [ONE_PUT, PARTS], ids=["one put", "parts"])
@pytest.mark.bad_day("The disk of S3 is full", sees="the commit fails; nothing is lost")
async def test_fault_31_on_a_full_disk_nothing_commits_and_nothing_is_lost(
    full_layer: DataLayer, full_weed: FullWeed, data: bytes
) -> None:
    """No row without its object; what was there stays; freed, it goes on."""
    outside = Outside(full_layer, ObjectStore(Bucket.from_settings(full_layer.settings)))
    kept = await _store(full_layer, KEPT)
    full_weed.fill()
    with pytest.raises(StorageUnreachableError, match="InternalError"):
        await _store(full_layer, data)
    assert await outside.states() == ["committed", "deleted"]
    assert await outside.store.read(kept) == KEPT
    full_weed.free()
    again = await _store(full_layer, data)
    assert await outside.store.read(again) == data
    await FileSweeper(full_layer).sweep()
    assert await outside.keys() == await outside.named_keys() == {kept, again}


@pytest.mark.fault(31, holds="I2 I7")
async def test_fault_31_a_database_of_seaweedfs_that_met_a_full_disk_wants_a_restart(
    committed: ScratchDatabase, system: str, tmp_path: Path
) -> None:
    """It refuses writes even when there is room again; never is a row committed."""
    weed = Weed(tmp_path / "state")
    try:
        weed.start()
        settings = committed.settings(**weed.s3.variables())
        async with DataLayer(settings, name=system) as layer:
            outside = Outside(layer, ObjectStore(Bucket.from_settings(settings)))
            kept = await _store(layer, KEPT)
            for limit in (0, resource.RLIM_INFINITY):
                limit_writes(weed, limit)
                with pytest.raises(StorageUnreachableError, match="InternalError"):
                    await _store(layer, PARTS)
            assert await outside.states() == ["committed", "deleted", "deleted"]
            weed.kill()
            weed.start()
            again = await _store(layer, PARTS)
            assert await outside.named_keys() == {kept, again}
            assert await outside.store.read(kept) == KEPT
    finally:
        weed.stop()


@pytest.mark.fault(32, holds="I2")
@pytest.mark.bad_day("A read-only disk", sees="the start says so and works once it is writable")
def test_fault_32_on_a_read_only_disk_a_start_says_so(disk: Path) -> None:
    """It names the folder and what to do; writable again, it starts with its data."""
    weed = Weed(disk / "state")
    weed.start()
    weed.stop()
    _remount(disk, "ro")
    with pytest.raises(ServerError) as refused:
        Weed(disk / "state").start()
    assert str(disk) in refused.value.message
    assert refused.value.hint
    _remount(disk, "rw")
    again = Weed(disk / "state")
    try:
        again.start()
    finally:
        again.stop()


@pytest.mark.fault(32, holds="I2", every_run=True)
@pytest.mark.bad_day(
    "A folder that may not be written", sees="the start says which, and what to do"
)
def test_fault_32_in_a_folder_that_may_not_be_written_a_start_says_so(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A folder of somebody else's; root may write anywhere but on such a disk."""
    closed = tmp_path / "closed"
    if AS_ROOT:
        closed = request.getfixturevalue("disk")
        _remount(closed, "ro")
    else:
        closed.mkdir(mode=0o500)
    _refused(lambda: Weed(closed / "state").start())


async def _store(layer: DataLayer, data: bytes) -> str:
    async with layer.transaction() as uow:
        return (await uow.store_file(data, ANY)).key


def _refused(start: Callable[[], None]) -> None:
    with pytest.raises(ServerError) as refused:
        start()
    assert refused.value.hint


def _mounted(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", DISK, "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)
