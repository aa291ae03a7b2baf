"""Options, states, messages and restarts: the room's values."""

from dataclasses import replace
from pathlib import Path

import pytest

from bedplate.errors import PortTakenError, ServerError, SettingsError
from bedplate.project import SystemEntry
from bedplate.servers.control import LONGEST_LINE_BYTES, Lines, decode_error, encode, encode_error
from bedplate.servers.restarts import BACKOFF_SECONDS, STEADY_SECONDS, Restarts
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import S3Keys, ServiceState, StackState

STATE = StackState(
    services=(ServiceState("postgres", 1, 2, "18.6", 3, Path("/log"), True),),
    databases={"shop": "postgresql://shop:s3cret@127.0.0.1:1/shop"},
    redis_url="redis://:s3cret@127.0.0.1:2/0",
    admin_url="postgresql://postgres:s3cret@127.0.0.1:1/postgres",
    secret_key="s3cret",
    supervisor_pid=4,
    client_tools=Path("/bin"),
    is_detached=True,
    s3_keys={"shop": S3Keys("id", "s3cret")},
)


def test_options_come_from_the_environment() -> None:
    """The variables of the documentation."""
    options = StackOptions.from_environment(
        {
            "BEDPLATE_PINNED": "yes",
            "BEDPLATE_DURABLE": "0",
            "BEDPLATE_POSTGRES_BIN": "/opt/postgres/bin",
            "BEDPLATE_VALKEY_SERVER": "/opt/valkey-server",
            "BEDPLATE_WEED": "/opt/weed",
        }
    )
    expected = StackOptions(
        True, False, Path("/opt/postgres/bin"), Path("/opt/valkey-server"), weed=Path("/opt/weed")
    )
    assert options == expected
    assert StackOptions.from_environment({}) == StackOptions()


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    """A typing error must not silently mean "off"."""
    with pytest.raises(SettingsError, match="BEDPLATE_PINNED is neither on nor off"):
        StackOptions.from_environment({"BEDPLATE_PINNED": "ture"})


@pytest.mark.parametrize(
    "options",
    [
        StackOptions(),
        StackOptions(True, False, Path("/a b"), Path("/c"), weed=Path("/d"), has_files=True),
    ],
)
def test_options_survive_their_json(options: StackOptions) -> None:
    """What the client chose is what the supervisor starts."""
    assert StackOptions.from_json(options.to_json()) == options


def test_a_state_survives_the_socket_and_hides_its_secrets() -> None:
    """The client must see what the supervisor knows; a log of it must not."""
    (message,) = Lines().feed(encode({"state": STATE.to_json()}))
    assert StackState.from_json(message["state"]) == STATE
    assert "s3cret" not in repr(STATE)
    assert STATE.service("postgres").port == 2
    with pytest.raises(KeyError):
        STATE.service("mysql")


def test_variables_name_each_system() -> None:
    """DATABASE_URL only where it is unambiguous."""
    shop = SystemEntry("shop", None, "shop", "shop", "")
    variables = STATE.environment([shop])
    assert variables["SHOP_DATABASE_URL"] == variables["DATABASE_URL"] == STATE.databases["shop"]
    assert variables["REDIS_URL"] == STATE.redis_url
    assert "DATABASE_URL" not in STATE.environment([])


def test_messages_may_come_in_pieces() -> None:
    """A socket cuts where it likes."""
    lines = Lines()
    whole = encode({"a": 1}) + encode({"b": 2})
    assert lines.feed(whole[:5]) == []
    assert lines.feed(whole[5:-3]) == [{"a": 1}]
    assert lines.feed(whole[-3:]) == [{"b": 2}]


@pytest.mark.parametrize("received", [b"[1]\n", b"nonsense\n", b"x" * (LONGEST_LINE_BYTES + 1)])
def test_what_is_no_message_is_refused(received: bytes) -> None:
    """The supervisor drops such a connection and goes on."""
    with pytest.raises(ValueError):
        Lines().feed(received)


def test_an_error_keeps_its_class_and_hint() -> None:
    """The command line prints in one process what failed in another."""
    error = decode_error(encode_error(PortTakenError("port 1 is in use", hint="stop it"))["error"])
    assert isinstance(error, PortTakenError)
    assert error.hint == "stop it"
    unknown = decode_error(encode_error(KeyError("x"))["error"])
    assert type(unknown) is ServerError
    assert "KeyError" in unknown.message


def test_restarts_come_ever_later_and_never_end() -> None:
    """A server that dies at each start must not keep the machine busy."""
    restarts = Restarts()
    now, delays = 100.0, []
    for _ in range(len(BACKOFF_SECONDS) + 2):
        delays.append(restarts.plan("valkey", now))
        assert restarts.seconds_to_next(now, 1000.0) == pytest.approx(delays[-1])
        now += delays[-1]
        assert restarts.take_due(now) == ["valkey"]
        assert restarts.take_due(now) == []
    assert delays == [*BACKOFF_SECONDS, BACKOFF_SECONDS[-1], BACKOFF_SECONDS[-1]]


def test_a_server_that_ran_for_long_is_restarted_at_once() -> None:
    """One death a day is no pattern."""
    restarts = Restarts()
    restarts.plan("postgres", 0.0)
    assert restarts.plan("postgres", 1.0) > 0
    assert restarts.plan("postgres", STEADY_SECONDS + 10.0) == 0


def test_variables_name_each_systems_keys_of_s3() -> None:
    """The plain ones only where they are unambiguous; none without an S3."""
    shop, blog = (SystemEntry(name, None, name, name, "") for name in ("shop", "blog"))
    keys = {"shop": S3Keys("shop-id", "s3cret"), "blog": S3Keys("blog-id", "s3cret")}
    state = replace(STATE, s3_url="http://127.0.0.1:3", s3_keys=keys)
    assert "s3cret" not in repr(state)
    alone, both = state.environment([shop]), state.environment([shop, blog])
    assert alone["S3_ENDPOINT_URL"] == both["S3_ENDPOINT_URL"] == "http://127.0.0.1:3"
    assert alone["AWS_ACCESS_KEY_ID"] == alone["SHOP_AWS_ACCESS_KEY_ID"] == "shop-id"
    assert both["BLOG_AWS_ACCESS_KEY_ID"] == "blog-id"
    assert "AWS_ACCESS_KEY_ID" not in both
    assert not [name for name in STATE.environment([shop]) if name.startswith(("S3_", "AWS_"))]
