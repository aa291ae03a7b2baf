"""What `run` is made of, each part by itself: lifeline, log tail, record, port, deaths."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bedplate.cli import lifeline
from bedplate.cli.children import describe_end
from bedplate.cli.everything import open_listener
from bedplate.cli.log_tail import Picker, Tail, last_lines
from bedplate.cli.options import Invocation
from bedplate.cli.output import Output
from bedplate.cli.process_age import started_at
from bedplate.cli.run_record import hold_record, read_record
from bedplate.errors import ConflictError

WATCHING = """
import signal, sys
from bedplate.cli import lifeline
line = lifeline.watch()
lifeline.say_ready(line)
signal.pause()
"""
# The first SIGTERM is refused, as by a process that hangs; a fork of it must go, too.
STUBBORN = """
import os, signal
from datetime import timedelta
from bedplate.cli import lifeline
lifeline.GRACE = timedelta(milliseconds=50)
line = lifeline.watch()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    lifeline.say_ready(line)
signal.pause()
"""


def _start(code: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    kept, given = lifeline.make_pair()
    with given:
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, lifeline.VARIABLE: str(given.fileno())},
            pass_fds=(given.fileno(),),
            process_group=0,
            stdout=subprocess.PIPE,
        )
    kept.settimeout(10)
    assert kept.recv(16) == lifeline.READY
    return child, kept


def test_a_child_ends_when_its_parent_is_gone() -> None:
    """kill -9 leaves the parent no chance to end anything: the kernel closes the line."""
    child, kept = _start(WATCHING)
    with child:
        kept.close()
        assert child.wait(timeout=10) == -signal.SIGTERM


def test_a_child_that_does_not_end_is_killed_with_what_it_forked() -> None:
    """A pool process in the middle of a job would else work on, owned by nobody."""
    child, kept = _start(STUBBORN)
    with child:
        kept.close()
        assert child.wait(timeout=10) == -signal.SIGKILL
        assert child.stdout is not None
        # End of file: the fork, which holds the other end of the pipe, is gone as well.
        assert child.stdout.read() == b""


def test_a_process_that_run_did_not_start_has_no_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bedplate worker` by hand or in a container lives for itself."""
    monkeypatch.delenv(lifeline.VARIABLE, raising=False)
    assert lifeline.watch() is None
    lifeline.say_ready(None)


@pytest.mark.parametrize(
    ("line", "is_shown"),
    [
        ("2026-11-22T10:00:00.123Z INFO uvicorn.access: GET /", False),
        ("2026-11-22T10:00:00.123Z WARNING bedplate.x: slow", True),
        ("[2026-11-22 10:00:00,123: ERROR/MainProcess] lost", True),
        ("[2026-11-22 10:00:00,123: INFO/MainProcess] ready", False),
        ("Traceback (most recent call last):", True),
        (" -------------- celery@host v5.7.0", False),
    ],
)
def test_warnings_and_errors_are_shown_and_access_lines_are_not(line: str, is_shown: bool) -> None:
    """At the terminal only what a person must act on; all of it is in the file."""
    assert Picker(shows_all=False).is_shown(line) is is_shown
    assert Picker(shows_all=True).is_shown(line)


def test_lines_without_a_level_belong_to_the_line_before() -> None:
    """A traceback without its lines is of no use."""
    picker = Picker(shows_all=False)
    shown = [
        picker.is_shown(line)
        for line in (
            "2026-11-22T10:00:00.123Z ERROR bedplate.x: failed",
            "  File x",
            "2026-11-22T10:00:00.124Z INFO bedplate.x: next",
            "  detail",
        )
    ]
    assert shown == [True, True, False, False]


def test_a_tail_gives_whole_new_lines_and_survives_a_new_file(tmp_path: Path) -> None:
    """Half a line would be printed twice; a log that outgrew its limit begins again."""
    path = tmp_path / "api.log"
    path.write_text("before, and longer than what comes\n")
    tail = Tail(path)
    with path.open("a") as file:
        file.write("one\ntw")
    assert tail.read() == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert tail.read() == ["two"]
    path.write_text("again\n")
    assert tail.read() == ["again"]
    assert last_lines(path, 3) == ["again"]
    assert last_lines(tmp_path / "none.log", 3) == []


def test_the_record_is_read_only_while_its_run_lives(tmp_path: Path) -> None:
    """A stale file must not make `status` show processes that are gone."""
    state = tmp_path / "state"
    assert read_record(state) == []
    with hold_record(state) as record:
        record.write([{"name": "api", "pid": 7, "port": 8000}])
        assert read_record(state) == [{"name": "api", "pid": 7, "port": 8000}]
        with pytest.raises(ConflictError, match="already"), hold_record(state):
            pass
    assert read_record(state) == []


def test_a_port_in_use_is_replaced_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Another project on 8000 is the most usual first obstacle of all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with open_listener(port, Output(Invocation())) as listener:
            found = listener.getsockname()[1]
    assert found != port
    said = capsys.readouterr().err
    assert f"port {port} is in use" in said
    assert str(found) in said


def test_a_free_port_is_taken_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """And on loopback only."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_listener(port, Output(Invocation())) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
    ],
)
def test_deaths_are_told_by_status_or_signal(status: int, text: str) -> None:
    """Out of memory (SIGKILL) and a bug (1) call for different things."""
    assert describe_end(status) == text


def test_the_start_of_a_process_is_known() -> None:
    """`status` says since when; a pid that nobody has answers nothing."""
    import psutil

    found = started_at(os.getpid())
    assert found is not None
    assert abs(found.timestamp() - psutil.Process().create_time()) < 2
    assert started_at(2**22 + 1) is None
