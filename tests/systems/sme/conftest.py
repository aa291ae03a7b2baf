"""Fixtures of sme's tests."""

import pytest


@pytest.fixture
def bedplate_system_name() -> str:
    """The system that is tested here."""
    return "sme"
