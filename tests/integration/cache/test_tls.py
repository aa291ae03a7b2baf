"""rediss://, as managed Redis is given: with a certificate that signs itself, too."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bedplate.cache.connections import RedisPool
from bedplate.delivery.broker import Broker, WakeUp
from bedplate.errors import RedisUnreachableError
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from tests.tls import TlsFront


@pytest.fixture
async def front(redis_url: str, tmp_path: Path) -> AsyncIterator[TlsFront]:
    """The run's Redis, behind TLS."""
    parts = urlsplit(redis_url)
    if parts.hostname is None:
        pytest.skip("the Redis of this run is reached by a socket")
    async with TlsFront(parts.hostname, parts.port or 6379, tmp_path, is_postgres=False) as front:
        yield front


def url_of(redis_url: str, front: TlsFront, query: str) -> str:
    """As a provider gives it, through the settings."""
    parts = urlsplit(redis_url)
    given = f"rediss://:{parts.password or ''}@localhost:{front.port}{parts.path}{query}"
    return Settings.load(variables={"REDIS_URL": given}).redis()


@pytest.mark.bad_day(
    "Redis with a certificate of its own", sees="Redis at … cannot be reached: … certificate"
)
async def test_a_certificate_that_signs_itself_is_refused(redis_url: str, front: TlsFront) -> None:
    """By default who listens there is checked."""
    async with RedisPool(url_of(redis_url, front, "")) as pool:
        with pytest.raises(RedisUnreachableError, match="certificate"):
            await pool.ping()


@pytest.mark.parametrize("query", ["?ssl_cert_reqs=none", "?ssl_cert_reqs=CERT_NONE"])
async def test_it_is_taken_where_the_url_says_so(
    redis_url: str, front: TlsFront, query: str
) -> None:
    """Heroku's and others' sign themselves; redis-py and Celery write it differently."""
    async with RedisPool(url_of(redis_url, front, query)) as pool:
        await pool.ping()
    assert front.handshakes >= 1


async def test_jobs_are_published_through_the_same_url(redis_url: str, front: TlsFront) -> None:
    """kombu has words of its own for what the URL says."""
    for query in (
        "?ssl_cert_reqs=none",
        f"?ssl_ca_certs={front.authority}&ssl_check_hostname=false",
    ):
        broker = Broker(url_of(redis_url, front, query))
        try:
            await broker.publish([WakeUp("shop", "default", new_id())])
        finally:
            await broker.close()
    assert front.handshakes >= 2
