"""Our half of the demonstration `benchmarks/lost_file.py` comes out as it is told."""

import pytest

from bedplate.testing.clones import ScratchDatabase
from benchmarks import lost_file
from benchmarks.cut_storage import cut_storage
from tests.integration.files.weed import S3


@pytest.mark.fault(34, holds="I7")
@pytest.mark.parametrize("is_up", [True, False], ids=["storage up", "storage cut"])
async def test_fault_34_row_and_object_agree_whatever_the_storage_does(
    blank_database: ScratchDatabase, s3: S3, is_up: bool
) -> None:
    """Both or neither, and who asked for the commit is told which (I1, I7, I14)."""
    settings = blank_database.settings(**s3.variables())
    await lost_file.prepare(settings)
    with cut_storage(s3.endpoint) as door:
        door.is_cutting = not is_up
        variables = {**blank_database.variables(), **s3.variables(endpoint=door.endpoint)}
        outcome = await lost_file.store_with_bedplate(variables, settings, door)
    assert outcome.is_whole
    assert (outcome.row_key is not None) == is_up
    assert outcome.has_object_at_once == is_up
    assert outcome.commit == ("returned" if is_up else "raised StorageUnreachableError")
    assert (outcome.cut_puts > 0) == (not is_up)


def test_a_row_without_its_object_is_called_a_disagreement() -> None:
    """The table must be able to say so of us, too."""
    lost = lost_file.Outcome("x", False, 1, "returned", "demo/a", False, frozenset())
    assert not lost.is_whole
    assert "they disagree" in lost_file.table([lost])
