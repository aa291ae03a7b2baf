"""Refuses what another site makes a browser send (CSRF), before anything of the body is read.

`app.add_middleware(SameOrigin)`. Unsafe methods and WebSockets must come from the same origin, as
the browser says in Sec-Fetch-Site, or in Origin where it is too old for that. Programs send
neither, carry no one's cookies unasked, and pass.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from bedplate.fastapi.problem import Problem

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# `same-site` is refused too: a neighbouring subdomain is not us. `none` is the user's own doing.
_OURS = frozenset({"same-origin", "none"})
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class SameOrigin:
    """ASGI middleware: 403 for a cross-site request that could change something."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if not _is_unsafe(scope) or is_same_origin(Headers(scope=scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008)(scope, receive, send)
        else:
            refusal = Problem(403, "The request comes from another site.", code="cross_site")
            await refusal.response()(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    """Whether a browser sent this from our own pages (or no browser did)."""
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site in _OURS
    origin = headers.get("origin")
    return origin is None or _is_host(origin, headers.get("host", ""))


def _is_unsafe(scope: Scope) -> bool:
    if scope["type"] == "http":
        return scope["method"] not in _SAFE
    return bool(scope["type"] == "websocket")


def _is_host(origin: str, host: str) -> bool:
    # Only host and port: behind a proxy that ends TLS we do not see the scheme.
    try:
        sender = urlsplit(origin)
        receiver = urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(sender.scheme)
        return (
            sender.hostname is not None
            and sender.hostname == receiver.hostname
            and (sender.port or default) == (receiver.port or default)
        )
    except ValueError:
        return False
