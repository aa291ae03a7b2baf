"""Only names that are ours are answered."""

import httpx
import pytest
from fastapi import FastAPI

from bedplate.fastapi.hosts import AllowedHosts
from bedplate.settings import Settings


async def status_of(host: str, path: str = "/", **variables: str) -> int:
    """What a request to this host name is answered with."""
    app = FastAPI()
    app.add_middleware(AllowedHosts, settings=_settings(variables))

    @app.get("/")
    @app.get("/health/live")
    async def index() -> None: ...

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
        answer = await client.get(f"http://127.0.0.1{path}", headers={"host": host})
    if answer.status_code == 400:
        assert answer.json()["code"] == "host_refused"
        assert not host or host not in answer.text
    return answer.status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "[::1]:8000", "localhost", "api", "a.localhost"]
)
async def test_a_machine_is_reached_by_its_own_names(host: str) -> None:
    """In development, in a test and among containers."""
    assert await status_of(host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example."]
)
async def test_a_strangers_name_that_points_here_is_refused(host: str) -> None:
    """DNS rebinding: the page that asks is the stranger's."""
    assert await status_of(host) == 400


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example", 200),
        ("SHOP.example:443", 200),
        ("www.shop.example", 400),
        ("api.books.example", 200),
        ("books.example", 200),
        ("notbooks.example", 400),
        ("localhost", 400),
        ("", 400),
    ],
)
async def test_named_hosts_are_answered_and_no_other(host: str, status: int) -> None:
    """A dot in front takes all that is below a name, and the name."""
    names = "shop.example, .books.example"
    assert await status_of(host, BEDPLATE_ALLOWED_HOSTS=names) == status


async def test_health_is_answered_by_any_name() -> None:
    """A load balancer asks by an address that nobody wrote down."""
    assert await status_of("10.1.2.3", "/health/live", BEDPLATE_ALLOWED_HOSTS="a.example") == 200


async def test_production_without_a_list_leaves_it_to_the_proxy() -> None:
    """Nobody but the proxy knows under which names it is reached."""
    app = AllowedHosts(FastAPI(), _settings({}).model_copy(update={"env": "production"}))
    assert app._takes_all


def _settings(variables: dict[str, str]) -> Settings:
    return Settings.load(variables=variables)
