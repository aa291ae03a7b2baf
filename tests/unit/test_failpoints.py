"""Failpoints do nothing unless told, and then exactly what they are told."""

import subprocess
import sys

import pytest

from bedplate.failpoints import EXIT_STATUS, VARIABLE, FailpointError, failpoint


def test_off_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production the variable is not there."""
    monkeypatch.delenv(VARIABLE, raising=False)
    failpoint("tx.before_commit")


def test_raises_at_its_own_step_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another step of the same process must go on."""
    monkeypatch.setenv(VARIABLE, "relay.after_publish=exit, tx.before_commit=raise")
    failpoint("tx.after_commit")
    with pytest.raises(FailpointError, match=r"tx\.before_commit"):
        failpoint("tx.before_commit")


def test_a_misspelt_action_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that silently does not happen makes a test pass."""
    monkeypatch.setenv(VARIABLE, "tx.before_commit=rise")
    with pytest.raises(ValueError, match="rise"):
        failpoint("tx.before_commit")


def test_exit_ends_the_process_at_once() -> None:
    """No `finally`, no atexit: as kill -9 would."""
    program = (
        "from bedplate.failpoints import failpoint\n"
        "try: failpoint('step')\n"
        "finally: print('cleaned up')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={VARIABLE: "step=exit"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (EXIT_STATUS, "")
