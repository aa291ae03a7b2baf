"""The soak's judge finds what is wrong, and a history survives the kill of its writer."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from bedplate.rows.ids import new_id
from tests.faults.soak.history import End, HistoryFile, Operation, read_histories
from tests.faults.soak.verdict import World, _jobs, _operation, _rows

ORDER, JOB, FILE = new_id(), new_id(), new_id()


def _world(**more: Any) -> World:
    order = SimpleNamespace(id=ORDER, job_id=JOB, file_id=FILE)
    job = SimpleNamespace(id=JOB, state="succeeded", what=str(ORDER))
    file = SimpleNamespace(id=FILE, state="committed", sha256="a", file_name="f")
    usual: dict[str, Any] = {
        "orders": {ORDER: order},
        "jobs": {JOB: job},
        "files": {FILE: file},
        "effects": {JOB: 1},
        "bumps": {},
        "counters": [],
    }
    return World(**usual | more)


def _judged(world: World, operation: Operation, *, is_deleted: bool = False) -> list[str]:
    def all_of_it() -> Iterator[str]:
        yield from _operation(world, operation, is_deleted, False)
        yield from _jobs(world, {ORDER: operation})
        yield from _rows(world)

    return [line.split()[0] for line in all_of_it()]


def _placed(end: End = End.ACKNOWLEDGED, **more: Any) -> Operation:
    return Operation(ORDER, "place", end, job=JOB, file=FILE, sha256="a", **more)


@pytest.mark.parametrize("end", [End.ACKNOWLEDGED, End.UNKNOWN])
def test_what_is_whole_is_fine(end: End) -> None:
    """Acknowledged or not known: all of it may be there."""
    assert _judged(_world(), _placed(end)) == []


@pytest.mark.parametrize("end", [End.FAILED, End.UNKNOWN])
def test_what_is_absent_is_fine(end: End) -> None:
    """Failed or not known: none of it may be there."""
    assert _judged(_world(orders={}, jobs={}, files={}, effects={}), _placed(end)) == []


@pytest.mark.parametrize(
    ("world", "operation", "says"),
    [
        (_world(orders={}, jobs={}, files={}, effects={}), _placed(), ["I2"]),
        (_world(), _placed(End.FAILED), ["I14"]),
        (_world(jobs={}, effects={}), _placed(), ["I1"]),
        (_world(orders={}, files={}), _placed(End.UNKNOWN), ["I1"]),
        (_world(files={}), _placed(), ["I7"]),
        (_world(effects={JOB: 2}), _placed(), ["I4"]),
        (_world(effects={}), _placed(), ["I4"]),
        (_world(), _placed(never=(ORDER,)), ["I1"]),
        (_world(counters=[SimpleNamespace(key=1, value=2, count=3)]), _placed(), ["I1"]),
    ],
    ids=[
        "acknowledged and lost",
        "failed and there",
        "row without job",
        "job without row",
        "row without file",
        "effect twice",
        "effect lost",
        "savepoint kept",
        "counter torn",
    ],
)
def test_every_violation_is_found(world: World, operation: Operation, says: list[str]) -> None:
    """A judge that finds nothing proves nothing."""
    assert _judged(world, operation) == says


def test_a_deleted_order_must_be_gone() -> None:
    """Its delete was acknowledged."""
    assert _judged(_world(), _placed(), is_deleted=True) == ["I2"]


def test_a_line_that_was_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    """What was begun and has no end is unknown."""
    history = HistoryFile(tmp_path / "history")
    history.begin(ORDER, "place")
    history.note(ORDER, job=JOB)
    with (tmp_path / "history").open("a") as file:
        file.write('{"op": "' + str(ORDER))
    found = read_histories([tmp_path / "history"])
    assert found == {ORDER: Operation(ORDER, "place", End.UNKNOWN, job=UUID(str(JOB)), lines=2)}
