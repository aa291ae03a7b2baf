"""`bedplate serve` says why it does not start, in one line and with what to do."""

import json
import socket

import pytest

from tests.integration.cli.conftest import Bedplate

# Nobody answers there, and nobody takes it for an embedded stack's.
NOWHERE = {
    "DATABASE_URL": "postgresql://ann:canary-of-a-password@127.1:1/shop",
    "REDIS_URL": "redis://:canary-of-a-password@127.1:1/0",
    "BEDPLATE_SECRET_KEY": "a key of thirty-two characters or more",
}


@pytest.mark.bad_day("PostgreSQL is down at the start", sees="where nobody answers; exit status 3")
@pytest.mark.parametrize("words", [("serve", "--port", "0"), ("relay", "--timeout", "0.1")])
def test_a_database_that_is_down_is_said_without_a_traceback(
    sample: Bedplate, words: tuple[str, ...]
) -> None:
    """Who watches the process starts it again; a person reads two lines."""
    ended = sample.call(*words, **NOWHERE)
    assert ended.returncode == 3
    assert "PostgreSQL at 127.1:1" in ended.stderr
    assert "Try: " in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert "canary" not in ended.stderr + ended.stdout


@pytest.mark.bad_day("`bedplate serve` with its port in use", sees="the port; another by --port")
def test_a_port_in_use_is_said(bedplate: Bedplate) -> None:
    """Asked for by number, so another would be a surprise."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = bedplate.call("-o", "json", "serve", "--port", port, **NOWHERE)
    assert ended.returncode == 1
    error = json.loads(ended.stdout)["error"]
    assert error["code"] == "port_taken"
    assert port in error["message"]
    assert "--port" in error["hint"]


@pytest.mark.bad_day("An address that is not this machine's", sees="what cannot be listened on")
def test_an_address_of_another_machine_is_said(bedplate: Bedplate) -> None:
    """A host that was copied from somewhere."""
    ended = bedplate.call("serve", "--host", "192.0.2.1", "--port", "0", **NOWHERE)
    assert ended.returncode == 1
    assert "192.0.2.1:0 cannot be listened on" in ended.stderr
