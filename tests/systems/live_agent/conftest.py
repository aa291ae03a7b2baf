"""Fixtures of live_agent's tests: organizations that signed up, each by its admin's browser."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient

from bedplate.layer import DataLayer
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase
from tests.serving import served
from tests.systems.conftest import NewClient
from tests.systems.live_agent.asking import PASSWORD, Join, log_in, sign_up
from tests.systems.live_agent.browsers import Browser, People


@pytest.fixture
def bedplate_system_name() -> str:
    """The system that is tested here."""
    return "live_agent"


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash of the usual cost takes a third of a second, and every test makes some."""
    monkeypatch.setenv("LIVE_AGENT_BCRYPT_ROUNDS", "4")


@pytest.fixture
async def ann(client: AsyncClient) -> AsyncClient:
    """The admin of Acme, signed in."""
    await sign_up(client, "Acme", "ann@acme.example")
    return client


@pytest.fixture
async def bob(stranger: AsyncClient) -> AsyncClient:
    """The admin of another organization, signed in."""
    await sign_up(stranger, "Bobs", "bob@bobs.example")
    return stranger


@pytest.fixture
async def join_acme(ann: AsyncClient, new_client: NewClient) -> AsyncIterator[Join]:
    """Adds a member of a role to Acme, and signs them in."""
    opened: list[Any] = []

    async def join(role: str) -> AsyncClient:
        email = f"{role}{len(opened)}@acme.example"
        wanted = {"email": email, "password": PASSWORD, "role": role}
        made = await ann.post("/members", json=wanted)
        assert made.status_code == 201, made.text
        context = new_client()
        browser = await context.__aenter__()
        opened.append(context)
        answer = await log_in(browser, email)
        assert answer.status_code == 200, answer.text
        return browser

    yield join
    for context in opened:
        await context.__aexit__(None, None, None)


@pytest.fixture
async def first(layer: DataLayer, bedplate_system: System) -> AsyncIterator[str]:
    """One API server with its own layer."""
    async with served(bedplate_system.create_app(layer)) as url:
        yield url


@pytest.fixture
async def second(
    layer: DataLayer, bedplate_database: ScratchDatabase, bedplate_system: System
) -> AsyncIterator[str]:
    """Another one, which shares nothing with the first but the servers."""
    async with (
        DataLayer(bedplate_database.settings(), name="live_agent") as other,
        served(bedplate_system.create_app(other)) as url,
    ):
        yield url


@pytest.fixture
async def people(first: str) -> AsyncIterator[People]:
    """Whoever is made here signs in at the first server."""
    made = People(first)
    yield made
    await made.close()


@pytest.fixture
async def admin(people: People) -> Browser:
    """The admin of Acme."""
    return await people.admin("Acme")
