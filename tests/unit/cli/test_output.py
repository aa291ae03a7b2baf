"""What is printed where, and how variables are quoted for the reader that they are for."""

import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from dotenv import dotenv_values

from bedplate.cli.commands.env import _dotenv_quoted
from bedplate.cli.options import Invocation
from bedplate.cli.output import Output, duration, table
from bedplate.cli.shell import postgres_variables
from bedplate.urls import DatabaseUrl


def _output(form: str = "text") -> Output:
    invocation = Invocation()
    invocation.format = form
    invocation.command = "status"
    return Output(invocation)


def test_results_go_to_stdout_and_progress_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """`bedplate … > file` must hold the result and nothing else."""
    output = _output()
    output.note("working")
    output.done("step", timedelta(milliseconds=312))
    output.warn("careful")
    output.result({"a": 1}, ["one", "two"])
    streams = capsys.readouterr()
    assert streams.out == "one\ntwo\n"
    assert streams.err == "working\n✓ step (312 ms)\n! careful\n"


def test_json_is_one_object_with_data(capsys: pytest.CaptureFixture[str]) -> None:
    """Its shape is promised; fields are only added."""
    _output("json").result({"a": 1}, "text")
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["data"] == {"a": 1}
    assert answer["command"] == "status"
    assert isinstance(answer["duration_ms"], int)


def test_an_error_after_the_result_is_no_second_object(capsys: pytest.CaptureFixture[str]) -> None:
    """`run -o json` answers when it is ready; what fails later goes to stderr."""
    output = _output("json")
    output.result({}, "")
    output.fail("server_failed", "gone", "")
    streams = capsys.readouterr()
    assert len(streams.out.splitlines()) == 1
    assert "✗ gone" in streams.err


def test_a_terminal_without_unicode_gets_plain_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A UnicodeEncodeError in a progress line would end the command."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    _output().done("postgres ready → 127.0.0.1")
    assert raw.getvalue() == b"ok postgres ready -> 127.0.0.1\n"


@pytest.mark.parametrize(
    ("took", "text"),
    [
        (timedelta(milliseconds=7), "7 ms"),
        (timedelta(seconds=1.239), "1.24 s"),
        (timedelta(seconds=185), "3 min 5 s"),
    ],
)
def test_durations_are_short(took: timedelta, text: str) -> None:
    """They stand behind every step."""
    assert duration(took) == text


def test_tables_are_aligned_without_trailing_blanks() -> None:
    """Lines are copied and compared."""
    assert table([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc  d"]


@pytest.mark.parametrize("value", ["plain", "a'b\"c", "back\\slash", "do$llar `tick`", "#hash x"])
def test_dotenv_values_are_read_back_as_they_were(value: str, tmp_path: Path) -> None:
    """`bedplate env -o env > .env` must not change a password."""
    path = tmp_path / ".env"
    path.write_text(f"X={_dotenv_quoted(value)}\n")
    assert dotenv_values(path, interpolate=False)["X"] == value


def test_postgres_variables_reach_libpq_unescaped() -> None:
    """A URL escapes the password; PGPASSWORD is taken as it is."""
    url = DatabaseUrl.parse("postgresql://me:p%40ss%2Fw@db:6000/shop?sslmode=require")
    assert postgres_variables(url) == {
        "PGHOST": "db",
        "PGPORT": "6000",
        "PGUSER": "me",
        "PGPASSWORD": "p@ss/w",
        "PGDATABASE": "shop",
        "PGSSLMODE": "require",
    }


def test_colors_are_for_terminals_only() -> None:
    """A log file must not hold escape sequences."""
    done = subprocess.run(
        [sys.executable, "-m", "bedplate.cli.main", "nonsense"], capture_output=True, check=False
    )
    assert b"\x1b" not in done.stderr
