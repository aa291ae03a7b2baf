"""Which faults a run injects: some in every `make test`, all of them with `pytest --faults`.

    @pytest.mark.fault(7, holds="I3")                       only with --faults
    @pytest.mark.fault(1, holds="I1 I11", every_run=True)   in every run, too

In every run are the tests that take a second and a half at most, and three that kill processes
with -9 around a commit and around a job (faults 1, 7 and 9), whatever they take: together less than
a minute in one process, and each invariant that any fault is held against. CI injects all of them
once (`make faults-once`); `make faults` injects all again and again with new seeds.

The numbers are those of `catalogue.py`; `holds` names the invariants that the test looks at.
"""

from collections.abc import Sequence

import pytest

OPTION = "--faults"


def add_option(parser: pytest.Parser) -> None:
    """`--faults`."""
    parser.addoption(
        OPTION, action="store_true", help="inject every fault, not only those of every run"
    )


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow faults: deselected and not skipped, for nothing is wrong with them."""
    if config.getoption(OPTION):
        return
    slow = [item for item in items if _is_slow(item)]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not _is_slow(item)]


def numbers_of(item: pytest.Item) -> Sequence[int]:
    """The faults that a test injects."""
    return [number for mark in item.iter_markers("fault") for number in mark.args]


def _is_slow(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("fault")
    return mark is not None and not mark.kwargs.get("every_run", False)
