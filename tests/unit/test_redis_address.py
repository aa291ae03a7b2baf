"""Redis URLs: one server, Sentinel, cluster; and what is refused, without saying the value."""

import pytest

from bedplate.errors import SettingsError
from bedplate.redis_address import RedisAddress
from bedplate.settings import Settings


def test_one_server() -> None:
    """As every provider gives it."""
    found = RedisAddress.parse("rediss://user:p%40ss@redis.example.com:6380/3?ssl_cert_reqs=none")
    assert (found.kind, found.hosts, found.database) == (
        "single",
        (("redis.example.com", 6380),),
        3,
    )
    assert (found.user, found.password, found.is_tls) == ("user", "p@ss", True)
    assert dict(found.options) == {"ssl_cert_reqs": "none"}


def test_a_socket() -> None:
    """On one machine, without a port."""
    found = RedisAddress.parse("unix://:hush@/run/redis.sock?db=2")
    assert (found.socket_path, found.database, found.hosts) == ("/run/redis.sock", 2, ())
    assert found.password == "hush"


def test_sentinel_names_its_master() -> None:
    """Hosts are sentinels; the first part of the path is the master's name."""
    found = RedisAddress.parse(
        "redis+sentinel://:hush@one:26380,[::1],three/main/2?sentinel_password=other"
    )
    assert found.kind == "sentinel"
    assert found.hosts == (("one", 26380), ("::1", 26379), ("three", 26379))
    assert (found.master, found.database) == ("main", 2)
    assert found.sentinel_credentials == (None, "other")
    assert found.url_of("::1", 26379, "sentinel") == "sentinel://:hush@[::1]:26379/2"


def test_a_cluster() -> None:
    """Any of its nodes."""
    found = RedisAddress.parse("rediss+cluster://:hush@one:7000,two:7001")
    assert (found.kind, found.is_tls) == ("cluster", True)
    assert found.hosts == (("one", 7000), ("two", 7001))


@pytest.mark.parametrize(
    "url",
    [
        "http://:hush@host",
        "hush",
        "redis+sentinel://:hush@host:26379",
        "redis+cluster://:hush@host:7000/1",
        "redis://:hush@host/x",
        "redis://:hush@host:port/0",
    ],
)
def test_what_is_wrong_is_said_without_the_value(url: str) -> None:
    """A password in a variable that is wrong must not come out with the error."""
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        RedisAddress.parse(url)
    assert "hush" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        Settings.load(variables={"REDIS_URL": url})
    assert "hush" not in f"{caught.value} {caught.value.hint}"


def test_no_password_is_shown() -> None:
    """Neither the servers' nor the sentinels'."""
    found = RedisAddress.parse("redis+sentinel://:hush@host/main?sentinel_password=hush")
    assert "hush" not in repr(found)


def test_a_cluster_is_no_broker() -> None:
    """The relay tells the cache there, and no worker of Celery's."""
    for url, expected in (("redis://h", True), ("redis+cluster://h", False)):
        assert Settings.load(variables={"REDIS_URL": url}).has_broker is expected
    assert Settings.load(variables={}).has_broker is False
