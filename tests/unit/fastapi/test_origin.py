"""Cross-site requests that could change something are refused; all others pass."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message

from bedplate.fastapi import SameOrigin

HOST = "shop.example"


async def answer(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("done")


def application() -> SameOrigin:
    return SameOrigin(Starlette(routes=[Route("/", answer, methods=["GET", "POST"])]))


async def send(method: str, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app=application())
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
        return await client.request(method, "/", headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": f"https://{HOST}"},
        {"origin": "https://evil.example"},
        {"origin": "https://shop.example.evil.example"},
        {"origin": "https://shop.example:8443"},
        {"origin": "null"},
        {"origin": "https://[broken"},
    ],
)
async def test_cross_site_post_is_refused(headers: dict[str, str]) -> None:
    """A form on another page must not act with the reader's cookie."""
    response = await send("POST", headers)
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "cross_site"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": f"https://{HOST}"},
        {"origin": f"https://{HOST}:443"},
    ],
)
async def test_own_pages_and_programs_may_post(headers: dict[str, str]) -> None:
    """Programs send neither header; our own pages are named as ours."""
    assert (await send("POST", headers)).text == "done"


async def test_reading_is_never_refused() -> None:
    """A link from another site must work."""
    assert (await send("GET", {"sec-fetch-site": "cross-site"})).status_code == 200


async def test_websocket_of_another_site_is_closed() -> None:
    """A WebSocket handshake is a GET with cookies: it is checked like a POST."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def keep(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", HOST.encode()), (b"origin", b"https://evil.example")]
    await application()({"type": "websocket", "headers": headers}, receive, keep)
    assert [message["type"] for message in sent] == ["websocket.close"]
