"""The disk under PostgreSQL fills up while it serves, and is freed again."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bedplate.errors import BedplateError
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from tests.faults.own_postgres import OwnPostgres
from tests.faults.sample_system import NAME, place_order

DISK = "size=192m,mode=755"
# Beyond this something is refused, whatever was left in buffers.
MOST_ORDERS = 400
ORDERS = "SELECT id, EXISTS (SELECT FROM bedplate.jobs WHERE id = job_id) FROM fault_orders"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk can be mounted by root only, and in few containers")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def postgres(disk: Path) -> Iterator[OwnPostgres]:
    """A server whose data is on it."""
    server = OwnPostgres(disk / "state")
    try:
        server.up()
        yield server
    finally:
        server.stop()


def _fill(filler: Path) -> None:
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    assert shutil.disk_usage(filler.parent).free == 0


async def _order(layer: DataLayer, seed: random.Random) -> UUID:
    """Commit one, with a note that cannot be compressed."""
    order_id = new_id()
    async with layer.transaction() as uow:
        await place_order(uow, seed.randbytes(50_000).hex(), order_id=order_id)
    return order_id


@pytest.mark.fault(31, holds="I1 I2 I14")
async def test_fault_31_with_the_database_disk_full_nothing_acknowledged_is_lost(
    postgres: OwnPostgres, disk: Path, seed: random.Random
) -> None:
    """Refused with an error, whole; once there is room it goes on with all that was committed."""
    settings = await postgres.make_sample()
    acknowledged = set()
    refused = 0
    async with DataLayer(settings, name=NAME) as layer:
        acknowledged.add(await _order(layer, seed))
        _fill(disk / "filler")
        for _ in range(MOST_ORDERS):
            try:
                acknowledged.add(await _order(layer, seed))
            except (BedplateError, DBAPIError):
                refused += 1
                if refused == 3:
                    break
    assert refused
    (disk / "filler").unlink()
    # Without room for its log it may have ended itself; here no supervisor starts it again.
    if not postgres.has_died():
        postgres.stop_at_once()
    postgres.up()
    async with DataLayer(settings, name=NAME) as layer:
        acknowledged.add(await _order(layer, seed))
        async with layer.owner_database.engine.connect() as connection:
            found = dict(tuple(row) for row in await connection.execute(text(ORDERS)))
    assert acknowledged <= found.keys()
    assert set(found.values()) == {True}
