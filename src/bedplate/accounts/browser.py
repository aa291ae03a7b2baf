"""The web session behind a request's cookie: found, begun and ended, for one system.

    sessions = BrowserSessions("shop")

    router = Router(gate=sessions.require)

    @router.get("/me")
    async def me(session: Annotated[WebSession, Depends(sessions.require)]) -> Me: ...

`begin` and `end` give the `Set-Cookie` header of the answer. A login always begins a new session
and ends the one that the browser had before.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection

from bedplate.accounts.sessions import LONGEST, WebSession, WebSessions
from bedplate.accounts.watch import until_ended
from bedplate.fastapi import HostCookie, Problem, get_layer
from bedplate.layer import DataLayer


class BrowserSessions:
    """The sessions of one system's browsers."""

    def __init__(self, system: str) -> None:
        self.system = system

    async def find(self, connection: HTTPConnection, layer: DataLayer) -> WebSession | None:
        """Who asks, or None. Redis is asked once for a request, or for a WebSocket's handshake.

        Raises `RedisUnreachableError`.
        """
        known = f"bedplate.web_session.{self.system}"
        if known not in connection.scope:
            token = self._cookie(layer).read(connection)
            found = None if token is None else await self._sessions(layer).read(token)
            connection.scope[known] = found
        session: WebSession | None = connection.scope[known]
        return session

    async def require(self, connection: HTTPConnection) -> WebSession:
        """Who asks: for `Depends`, and a router's `gate`.

        Raises a 401 for who is not signed in; without Redis a 503.
        """
        session = await self.find(connection, await get_layer(connection))
        if session is None:
            raise not_signed_in()
        return session

    async def begin(
        self,
        connection: HTTPConnection,
        layer: DataLayer,
        user_id: str,
        values: Mapping[str, Any] | None = None,
    ) -> str:
        """Sign a user in, and end the browser's session of before: the `Set-Cookie` header."""
        cookie, sessions = self._cookie(layer), self._sessions(layer)
        if (before := cookie.read(connection)) is not None:
            await sessions.end(before)
        return cookie.header(connection, await sessions.begin(user_id, values))

    async def end(self, connection: HTTPConnection, layer: DataLayer) -> str:
        """Sign out, here and at once. Who is not signed in is told the same."""
        cookie = self._cookie(layer)
        if (token := cookie.read(connection)) is not None:
            await self._sessions(layer).end(token)
        return cookie.forget(connection)

    async def until_ended(self, connection: HTTPConnection, layer: DataLayer) -> None:
        """Return when this connection's session is no more: for a WebSocket, which outlives it."""
        token, session = self._cookie(layer).read(connection), await self.find(connection, layer)
        if token is not None and session is not None:
            await until_ended(layer, self._sessions(layer), token, session.user_id)

    async def end_all(self, layer: DataLayer, user_id: str) -> int:
        """Sign a user out everywhere. Returns how many sessions ended."""
        return await self._sessions(layer).end_all(user_id)

    def _sessions(self, layer: DataLayer) -> WebSessions:
        return WebSessions(layer.redis.client(), self.system)

    def _cookie(self, layer: DataLayer) -> HostCookie:
        return HostCookie(self.system, LONGEST, layer.settings.env == "production")


def not_signed_in() -> Problem:
    """The answer to who is nobody, whatever the reason."""
    return Problem(401, "Sign in first.", code="not_signed_in")
