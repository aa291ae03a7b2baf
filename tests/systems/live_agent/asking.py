"""What a person of live_agent asks over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

from httpx import AsyncClient

PASSWORD = "correct horse"
Join = Callable[[str], Awaitable[AsyncClient]]


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
