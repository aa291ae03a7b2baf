"""How a command line is answered: streams, formats, exit statuses. No server."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bedplate.cli import main as cli
from bedplate.cli.catalog import COMMANDS
from bedplate.errors import StackNotRunningError


def _call(*arguments: str) -> int:
    return cli.run(list(arguments))


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command("status")
    def failing() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: failing)


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A typo costs one look, and scripts can tell usage (2) from failure (1)."""
    assert _call("statsu") == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "statsu" in streams.err
    assert "'status'" in streams.err
    assert "Try: bedplate --help" in streams.err


@pytest.mark.parametrize("flag", [("-o", "json"), ("--output=json",), ("-ojson",)])
def test_a_usage_error_is_one_json_object_when_json_was_asked_for(
    flag: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent that asked for JSON gets it even when click refuses the rest."""
    assert _call(*flag, "status", "--nonsense") == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["error"]["code"] == "usage"
    assert set(answer) == {"ok", "error", "command", "duration_ms"}


def test_an_error_says_what_happened_and_what_to_try(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors are for people: no traceback, and a command to go on with."""
    _fail_with(monkeypatch, StackNotRunningError("nothing runs", hint="bedplate up -d"))
    assert _call("status") == 3
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "✗ nothing runs" in streams.err
    assert "  Try: bedplate up -d" in streams.err
    assert "Traceback" not in streams.err


def test_a_hint_that_says_try_itself_does_not_say_it_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hints come from every room, some as a sentence of their own."""
    _fail_with(monkeypatch, StackNotRunningError("nothing runs", hint="Try: bedplate up"))
    _call("status")
    assert "  Try: bedplate up\n" in capsys.readouterr().err


def test_an_unexpected_error_shows_its_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug is told in one line; whoever reports it asks for the rest."""
    _fail_with(monkeypatch, RuntimeError("broken"))
    assert _call("status") == 1
    plain = capsys.readouterr().err
    assert "RuntimeError: broken" in plain
    assert "Traceback" not in plain
    assert _call("--debug", "status") == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell or a script tells Ctrl-C from failure by it."""
    _fail_with(monkeypatch, KeyboardInterrupt())
    assert _call("status") == 130
    assert "interrupted" in capsys.readouterr().err


def test_the_version_is_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    """`bedplate --version` is read by scripts, in both formats."""
    assert _call("--version") == 0
    assert capsys.readouterr().out.startswith("bedplate 0.")
    assert _call("-o", "json", "--version") == 0
    assert json.loads(capsys.readouterr().out)["data"]["version"].startswith("0.")


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if not entry.is_hidden])
def test_the_catalog_says_of_each_command_what_the_command_says(name: str) -> None:
    """`--help` is printed without importing the commands, so the lines stand twice."""
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    assert command.help == COMMANDS[name].help
    assert command.name == name


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help must not need a project, a server or a variable."""
    assert _call(name, "--help") == 0
    assert capsys.readouterr().out.startswith("Usage: bedplate")


def test_hidden_commands_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Aliases and inner processes would double the list that a newcomer reads."""
    _call("--help")
    listed = capsys.readouterr().out
    assert "  migrate " in listed
    for name, entry in COMMANDS.items():
        assert (f"  {name} " in listed) is not entry.is_hidden


@pytest.mark.parametrize("name", ["../escape", "UPPER", "a b"])
def test_a_namespace_cannot_leave_the_state_folder(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It becomes the name of a folder."""
    assert _call("status", "-n", name) == 2
    assert capsys.readouterr().out == ""


def test_the_env_format_is_refused_where_there_is_no_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`status -o env` would print what no shell can read."""
    assert _call("status", "-o", "env") == 2
    assert "bedplate env" in capsys.readouterr().err


def _modules_after(code: str, folder: Path) -> set[str]:
    script = f"import sys\n{code}\nprint('|'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder
    )
    return set(done.stderr.strip().splitlines()[-1].split("|"))


HEAVY = {"asyncpg", "sqlalchemy", "pydantic", "fastapi", "celery", "alembic", "redis", "psutil"}


def test_help_imports_no_command_and_nothing_heavy(tmp_path: Path) -> None:
    """--help may take 6 times what Python takes to start; click alone takes 3."""
    loaded = _modules_after("from bedplate.cli.main import run; run(['--help'])", tmp_path)
    assert not loaded & (HEAVY | {"asyncio", "socket", "dataclasses", "json", "subprocess"})
    assert not [name for name in loaded if name.startswith("bedplate.cli.commands.")]


@pytest.mark.parametrize("name", ["status", "env", "up", "down", "psql", "redis-cli"])
def test_commands_of_every_day_import_nothing_heavy(name: str, tmp_path: Path) -> None:
    """They are to answer within 200 ms; a driver or a web framework takes longer by itself."""
    module = COMMANDS[name].module
    loaded = _modules_after(f"import bedplate.cli.commands.{module}", tmp_path)
    assert not loaded & (HEAVY | {"asyncio"})
