"""The stand-in for redis-cli, against a server of three lines. The real one is in integration."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bedplate.cli.redis_prompt import Connection, RedisRefusal, answer, bare_text, typed_text
from bedplate.errors import RedisUnreachableError


@contextmanager
def _server(*replies: bytes) -> Iterator[tuple[str, list[bytes]]]:
    received: list[bytes] = []

    def serve() -> None:
        link, _ = listener.accept()
        with link:
            for reply in replies:
                received.append(link.recv(65536))
                link.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", received
        thread.join(timeout=5)


@pytest.mark.parametrize(
    ("reply", "typed", "bare"),
    [
        (b"+OK\r\n", "OK", "OK"),
        (b":42\r\n", "(integer) 42", "42"),
        (b"$-1\r\n", "(nil)", ""),
        (b"$5\r\na\r\nbc\r\n", '"a\\r\\nbc"', "a\r\nbc"),
        (b"*0\r\n", "(empty array)", ""),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", '1) "a"\n2) 1) (integer) 1', "a\n1"),
    ],
)
def test_replies_are_shown_as_redis_cli_shows_them(reply: bytes, typed: str, bare: str) -> None:
    """Habits and documented lines carry over."""
    with _server(reply) as (address, _):
        connection = Connection(f"redis://{address}")
        connection.open()
        found: Any = connection.ask(["PING"])
        connection.close()
    assert typed_text(found) == typed
    assert bare_text(found) == bare


def test_an_error_is_shown_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """A script must see that its command failed."""
    with _server(b"-ERR unknown command\r\n") as (address, _):
        assert answer(f"redis://{address}", ["foo"]) == 1
    assert "ERR unknown command" in capsys.readouterr().out
    assert typed_text(RedisRefusal("ERR x")) == "(error) ERR x"


def test_it_logs_in_and_selects_the_urls_database() -> None:
    """The embedded server wants its password, and other servers more databases than one."""
    with _server(b"+OK\r\n", b"+OK\r\n", b"+PONG\r\n") as (address, received):
        assert answer(f"redis://me:p%40ss@{address}/3", ["ping"]) == 0
    assert received[0] == b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$4\r\np@ss\r\n"
    assert received[1] == b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"


def test_a_refused_password_is_an_error_without_the_password() -> None:
    """Errors are copied into issues."""
    with (
        _server(b"-WRONGPASS invalid\r\n") as (address, _),
        pytest.raises(RedisUnreachableError) as raised,
    ):
        answer(f"redis://:s3cret@{address}", ["ping"])
    assert "WRONGPASS" in raised.value.message
    assert "s3cret" not in raised.value.message


def test_a_server_that_is_not_there_is_unreachable() -> None:
    """The same error and exit status as everywhere."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RedisUnreachableError, match=str(port)):
        answer(f"redis://127.0.0.1:{port}", ["ping"])
