"""The way of a browser: login, provider, callback, signed in, logout."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends
from httpx2 import ASGITransport, AsyncClient
from redis.asyncio import Redis
from sqlalchemy import select, text

from bedplate.accounts.openid import Identity, Provider
from bedplate.accounts.routes import SignIn
from bedplate.accounts.sessions import WebSession
from bedplate.fastapi import create_app
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork
from systems.librilabs.models import User
from tests.integration.accounts.provider import LocalProvider

BASE_URL = "http://127.0.0.1"


async def find_user(uow: UnitOfWork, identity: Identity) -> Any:
    """The user of this address, made when there is none."""
    user = await uow.session.scalar(select(User).where(User.email == identity.email))
    if user is None:
        user = User(email=identity.email)
        uow.add(user)
        await uow.flush()
    return user.id


@pytest.fixture
async def client(layer: DataLayer, provider: LocalProvider) -> AsyncIterator[AsyncClient]:
    """A browser at an application whose users sign in at the local provider."""

    def provider_of() -> Provider | None:
        return provider.client()

    sign_in = SignIn("library", provider_of, find_user)
    app = create_app(layer, title="library")
    app.include_router(sign_in.router)

    @app.get("/me")
    async def me(session: Annotated[WebSession, Depends(sign_in.session)]) -> dict[str, str]:
        return {"user_id": session.user_id}

    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


async def sign_in(client: AsyncClient, next_path: str = "/") -> httpx2.Response:
    """What a browser does: follow the login to the provider, and its answer back to us."""
    login = await client.get("/auth/google/login", params={"next": next_path})
    assert login.status_code == 307, login.text
    async with AsyncClient() as outside:
        back = await outside.get(login.headers["location"])
    return await client.get(back.headers["location"])


async def test_a_browser_signs_in_is_known_and_signs_out(client: AsyncClient) -> None:
    """The whole way, and what was signed in is nobody after the logout."""
    assert (await client.get("/me")).status_code == 401
    answer = await sign_in(client, "/translations")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/translations"
    assert (await client.get("/me")).status_code == 200
    kept = dict(client.cookies)
    assert (await client.post("/auth/logout")).status_code == 204
    client.cookies.update(kept)
    assert (await client.get("/me")).status_code == 401


async def test_a_second_sign_in_finds_the_same_user(client: AsyncClient, layer: DataLayer) -> None:
    """And leaves one row."""
    await sign_in(client)
    first = (await client.get("/me")).json()
    await sign_in(client)
    assert (await client.get("/me")).json() == first
    async with layer.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM users")) == 1


async def test_a_login_replaces_the_session_that_was_there(
    client: AsyncClient, redis: Redis
) -> None:
    """What a stranger planted in the browser is signed out, not signed in."""
    await sign_in(client)
    planted = client.cookies["library_session"]
    await sign_in(client)
    assert client.cookies["library_session"] != planted
    client.cookies.clear()
    client.cookies.set("library_session", planted)
    assert (await client.get("/me")).status_code == 401


async def test_a_refused_sign_in_stores_nothing(
    client: AsyncClient, provider: LocalProvider, layer: DataLayer, redis: Redis
) -> None:
    """A 403 with the reason, no user, no session."""
    provider.person.email_verified = False
    answer = await sign_in(client)
    assert answer.status_code == 403
    assert answer.json()["code"] == "sign_in_refused"
    assert "verified" in answer.json()["detail"]
    async with layer.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM users")) == 0
    assert not [key async for key in redis.scan_iter("library:session:*")]


async def test_who_declines_at_the_provider_is_told_so(client: AsyncClient) -> None:
    """The provider says error=access_denied."""
    answer = await client.get("/auth/google/callback", params={"error": "access_denied"})
    assert answer.status_code == 403


async def test_the_cookies_are_for_the_server_alone(client: AsyncClient) -> None:
    """No script reads them, and no other site sends them with a POST."""
    answer = await sign_in(client)
    cookies = answer.headers.get_list("set-cookie")
    session = next(cookie for cookie in cookies if cookie.startswith("library_session="))
    assert "HttpOnly" in session
    assert "SameSite=Lax" in session
    assert "Path=/" in session
    assert any(cookie.startswith('library_sign_in="";') for cookie in cookies)


async def test_no_secret_is_kept_where_users_are(client: AsyncClient, redis: Redis) -> None:
    """Redis holds no token that a browser has."""
    await sign_in(client)
    token = client.cookies["library_session"]
    found = {key: str(await redis.type(key)) async for key in redis.scan_iter("library:*")}
    assert token not in json.dumps(found)


async def test_without_a_provider_the_login_says_so(layer: DataLayer) -> None:
    """A missing variable is a 503 that names it, not a broken page."""
    app = create_app(layer, title="library")
    app.include_router(SignIn("library", lambda: None, find_user).router)
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
        answer = await client.get("/auth/google/login")
    assert answer.status_code == 503
    assert "GOOGLE_CLIENT_ID" in answer.json()["detail"]
