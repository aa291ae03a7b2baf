"""What is printed to be copied works in the shell that it is printed in."""

from pathlib import Path

import pytest

from bedplate.cli.called_as import called_as


def test_a_command_that_is_on_the_path_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment is active, or it is installed for all."""
    program = tmp_path / "bedplate"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [str(program), "run"])
    assert called_as() == "bedplate"


def test_one_that_is_not_is_called_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make run` activates nothing: a bare name would not be found. Spaces are quoted."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [".venv/bin/bedplate", "run"])
    assert called_as() == ".venv/bin/bedplate"
    monkeypatch.setattr("sys.argv", [str(tmp_path / "a b" / "bedplate"), "run"])
    assert called_as() == "'a b/bedplate'"


def test_a_module_that_is_run_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m bedplate.cli.main`: its file is no command."""
    monkeypatch.setattr("sys.argv", ["/src/bedplate/cli/main.py", "run"])
    monkeypatch.setenv("PATH", "")
    assert called_as() == "bedplate"
