"""The form of what goes to Redis, and how its URL is given to kombu."""

import json
import ssl
from uuid import UUID

import pytest

from bedplate.delivery.broker import (
    RUN_JOB,
    Broker,
    WakeUp,
    body_of,
    headers_of,
    kombu_url,
    queue_name,
    tls_options,
    transport_options,
)
from bedplate.errors import SettingsError

JOB = UUID("01a200db-0024-72c5-badc-5c62b87f3859")
WAKE_UP = WakeUp("shop", "mail", JOB)


def test_a_message_is_celerys_second_protocol() -> None:
    """Any Celery worker of the right code can read it."""
    arguments, keywords, embedded = json.loads(body_of(WAKE_UP))
    assert arguments == ["shop", str(JOB)]
    assert keywords == {}
    assert set(embedded) == {"callbacks", "errbacks", "chain", "chord"}
    headers = headers_of(WAKE_UP, "here")
    assert (headers["task"], headers["id"], headers["lang"]) == (RUN_JOB, str(JOB), "py")


def test_a_queue_is_named_after_its_system() -> None:
    """Two systems on one Redis must not take each other's jobs."""
    assert queue_name("shop", "mail") == "shop.mail"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://:pw@host:6379/1", "redis://:pw@host:6379/1"),
        ("rediss://host/0", "rediss://host/0"),
        ("rediss://:pw@host/0?ssl_cert_reqs=none", "rediss://:pw@host/0"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
        ("unix://:pw@/run/v.sock?db=3", "redis+socket://:pw@/run/v.sock?virtual_host=3"),
    ],
)
def test_urls_become_kombus(given: str, expected: str) -> None:
    """kombu knows sockets by another scheme, and the database by another word."""
    assert kombu_url(given) == expected


def test_tls_checks_the_certificate() -> None:
    """kombu's default for rediss:// is to check none."""
    assert tls_options("rediss://host/0") == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert tls_options("redis://host/0") is None


def test_tls_is_as_the_url_says() -> None:
    """A provider's certificate that signs itself, or one of an authority in a file."""
    assert tls_options("rediss://host/0?ssl_cert_reqs=none") == {"ssl_cert_reqs": ssl.CERT_NONE}
    assert tls_options("rediss://host/0?ssl_ca_certs=/a.pem&ssl_check_hostname=false") == {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_ca_certs": "/a.pem",
        "ssl_check_hostname": False,
    }


def test_a_broker_shows_no_password() -> None:
    """A repr ends up in logs."""
    assert "hunter2" not in repr(Broker("redis://:hunter2@host/0"))


def test_sentinel_is_written_as_kombu_does() -> None:
    """Every sentinel, with the servers' password; the master's name goes beside."""
    url = "redis+sentinel://:hush@one:26379,two:26380/main/1?sentinel_password=other"
    assert kombu_url(url) == "sentinel://:hush@one:26379/1;sentinel://:hush@two:26380/1"
    options = transport_options(url)
    assert options["master_name"] == "main"
    assert options["sentinel_kwargs"]["password"] == "other"


def test_a_cluster_is_refused_with_a_way_out() -> None:
    """kombu knows none; the direct worker needs none."""
    with pytest.raises(SettingsError, match="cluster") as caught:
        kombu_url("redis+cluster://one:7000")
    assert "bedplate worker --direct" in caught.value.hint
