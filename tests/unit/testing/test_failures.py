"""A step that is to fail does, is the one that was meant, and exists."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bedplate.errors import UnknownStepError
from bedplate.failpoints import VARIABLE, failpoint
from bedplate.testing import FailpointError, fail_at, failing, known_steps


def charge() -> None:
    """A user's own step."""
    failpoint("shop.after_charge")


def test_a_step_of_ones_own_fails_within_the_block_only() -> None:
    """What is armed must not reach the next test."""
    with fail_at("shop.after_charge"), pytest.raises(FailpointError, match=r"shop\.after_charge"):
        charge()
    charge()


def test_a_step_raises_what_it_is_given() -> None:
    """The error that a payment provider raises is caught by other code than ours is."""
    refused = ConnectionError("the bank does not answer")
    with fail_at("shop.after_charge", refused), pytest.raises(ConnectionError, match="bank"):
        charge()


def test_a_step_fails_at_the_pass_that_is_meant() -> None:
    """The second message of a batch is another case than the first."""
    with fail_at("shop.after_charge", nth=2) as step:
        charge()
        with pytest.raises(FailpointError):
            charge()
        charge()
    assert step.passes["shop.after_charge"] == 3


def test_a_step_that_is_never_passed_fails_the_test() -> None:
    """A fault that does not happen proves nothing; the message says what was passed instead."""
    never_passed = pytest.raises(AssertionError, match=r"before_commit was not passed.*charge")
    with never_passed, fail_at("tx.before_commit"):
        charge()
    with fail_at("tx.before_commit", must_fail=False):
        charge()


@pytest.mark.parametrize("name", ["tx.before_comit", "shop.before_charge"])
def test_an_unknown_step_is_refused_and_the_known_ones_are_listed(name: str) -> None:
    """A misspelt name would make every test of it pass."""
    with pytest.raises(UnknownStepError, match=name) as refused, fail_at(name):
        pass
    assert "tx.before_commit" in refused.value.hint
    assert "shop.after_charge" in refused.value.hint
    with pytest.raises(UnknownStepError):
        failing(name)


def test_the_known_steps_are_those_in_the_code() -> None:
    """Bedplate's own need not be imported to be known; those in documentation are none."""
    assert {"relay.after_publish", "worker.after_claim", "shop.after_charge"} <= known_steps()
    assert "step" not in known_steps()


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process that passes a step three times."""
    program = (
        "from bedplate import failpoint\n"
        "for number in range(3): failpoint('tx.before_commit'); print(number)"
    )
    return subprocess.run(
        [sys.executable, "-u", "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_child_is_killed_at_the_pass_that_is_meant() -> None:
    """Kill -9, as the kernel's own: no status of ours."""
    ended = run(failing("tx.before_commit", "kill", nth=3))
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "0\n1\n")


def test_a_child_notes_the_steps_that_it_passes(tmp_path: Path) -> None:
    """How one learns where a function can be crashed."""
    noted = tmp_path / "passes"
    assert run({VARIABLE: f"*=record:{noted}"}).returncode == 0
    assert noted.read_text().split() == ["tx.before_commit"] * 3
