"""What a scenario must be, before a process is started for it."""

import pytest

from bedplate.layer import DataLayer
from bedplate.testing.crashes import CrashPoint, limited


async def scenario(layer: DataLayer) -> None:
    """Is never run here."""


@pytest.mark.parametrize(
    ("count", "message"), [(0, "passes no failpoint"), (4, "passes 4 failpoints.*limit is 3")]
)
def test_a_scenario_without_a_step_or_with_too_many_is_refused(count: int, message: str) -> None:
    """One proves nothing, the other would take the day."""
    points = [CrashPoint("shop.after_charge", nth + 1) for nth in range(count)]
    with pytest.raises(AssertionError, match=f"scenario {message}"):
        limited(points, 3, scenario)


def test_a_later_pass_is_named() -> None:
    """Where a loop was crashed is which time around."""
    assert str(CrashPoint("tx.before_commit", 1)) == "tx.before_commit"
    assert str(CrashPoint("tx.before_commit", 2)) == "tx.before_commit (pass 2)"
