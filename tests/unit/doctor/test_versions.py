"""Which version is new enough."""

import pytest

from bedplate.doctor.versions import Version


@pytest.mark.parametrize(
    ("found", "needed", "is_met"),
    [
        ("16.14", "16", True),
        ("15.13", "16", False),
        ("18.6", "16", True),
        ("19beta1", "16", True),
        ("9.6.24", "16", False),
        ("0.8.0", "0.8", True),
        ("0.10.1", "0.8", True),
        ("0.7.4", "0.8", False),
        (None, "0.8", False),
    ],
)
def test_versions_are_compared_number_by_number(
    found: str | None, needed: str, is_met: bool
) -> None:
    """As texts, 0.10 would be older than 0.8."""
    assert Version("it", found, needed).is_met is is_met
