"""Fixtures of live_agent's tests: organizations that signed up, each by its admin's browser."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from httpx import AsyncClient

from tests.systems.conftest import NewClient

PASSWORD = "correct horse"

Join = Callable[[str], Awaitable[AsyncClient]]


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


async def sign_up(client: AsyncClient, name: str, email: str) -> dict[str, Any]:
    """A new organization; the client is its admin from now on."""
    wanted = {"name": name, "email": email, "password": PASSWORD, "full_name": name}
    answer = await client.post("/organizations", json=wanted)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def log_in(client: AsyncClient, email: str, password: str = PASSWORD) -> Any:
    """Ask to be let in."""
    return await client.post("/auth/login", json={"email": email, "password": password})


async def me(client: AsyncClient) -> dict[str, Any]:
    """Who the client is."""
    answer = await client.get("/me")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def open_session(client: AsyncClient, room_name: str) -> str:
    """The id of a new session."""
    answer = await client.post("/sessions", json={"room_name": room_name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
