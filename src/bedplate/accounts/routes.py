"""The routes of a sign-in, and the dependency that says who asks.

    sign_in = SignIn("shop", provider_of, find_user)
    app = create_app(layer, identify=sign_in.identify)
    app.include_router(sign_in.router)          # /auth/google/login, …/callback, /auth/logout

    @router.get("/me")
    async def me(session: Annotated[WebSession, Depends(sign_in.session)]) -> Me: ...

`find_user(uow, identity)` finds or makes the row of who has signed in, and returns its id; it is
committed before the session begins. It may raise `SignInRefusedError`, too. A login ends the
session that the browser had before.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection

from bedplate.accounts.openid import ATTEMPT, Identity, OpenIdSignIn, Provider, own_path
from bedplate.accounts.sessions import LONGEST, WebSession, WebSessions
from bedplate.errors import SignInRefusedError
from bedplate.fastapi import DepLayer, HostCookie, Problem, get_layer
from bedplate.fastapi import Identity as RequestIdentity
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork

FindUser = Callable[[UnitOfWork, Identity], Awaitable[Any]]
LONGEST_PARAMETER = 4096
# Where a request's session stands in its ASGI scope once it was read.
_READ = "bedplate.web_session"

Parameter = Annotated[str, Query(max_length=LONGEST_PARAMETER)]


class SignIn:
    """The sign-in of one system. `provider` is asked at each login, and None when there is none."""

    def __init__(
        self, system: str, provider: Callable[[], Provider | None], find_user: FindUser
    ) -> None:
        self._system = system
        self._provider = provider
        self._find_user = find_user
        self._doors: dict[Provider, OpenIdSignIn] = {}
        self.router = APIRouter(prefix="/auth", tags=["accounts"])
        self.router.get("/google/login", status_code=307)(self._login)
        self.router.get("/google/callback", status_code=307)(self._callback)
        self.router.post("/logout", status_code=204)(self._logout)

    async def session(self, connection: HTTPConnection, layer: DepLayer) -> WebSession:
        """Who asks. Raises a 401 for who is not signed in; without Redis a 503."""
        session = await self._read(connection, layer)
        if session is None:
            raise Problem(401, "Sign in first.", code="not_signed_in")
        return session

    async def identify(self, connection: HTTPConnection) -> RequestIdentity:
        """The same for `create_app`: the user is the actor of the request's unit of work."""
        session = await self._read(connection, await get_layer(connection))
        return RequestIdentity(actor=session.user_id if session else None)

    async def _login(
        self,
        request: Request,
        layer: DepLayer,
        next: Parameter = "/",  # noqa: A002 - as it is called on the web
    ) -> RedirectResponse:
        """Go to the provider; it sends the browser back to the callback."""
        begun = await self._door(layer).begin(own_path(next))
        answer = RedirectResponse(begun.url, 307)
        attempt = self._cookie(layer, "sign_in")
        answer.headers.append("Set-Cookie", attempt.header(request, begun.browser))
        return answer

    async def _callback(
        self,
        request: Request,
        layer: DepLayer,
        state: Parameter = "",
        code: Parameter = "",
        error: Parameter = "",
    ) -> RedirectResponse:
        """Where the provider sends the browser back to."""
        attempt, cookie = self._cookie(layer, "sign_in"), self._cookie(layer)
        try:
            if error or not code:
                raise SignInRefusedError("The provider did not sign you in.", reason="denied")
            identity, next_path = await self._door(layer).finish(
                state=state, code=code, browser=attempt.read(request)
            )
            async with layer.transaction() as uow:
                user_id = await self._find_user(uow, identity)
        except SignInRefusedError as refused:
            headers = {"Set-Cookie": attempt.forget(request)}
            raise Problem(403, refused.message, code=refused.code, headers=headers) from refused
        sessions = self._sessions(layer)
        if (before := cookie.read(request)) is not None:
            await sessions.end(before)
        token = await sessions.begin(str(user_id))
        answer = RedirectResponse(next_path, 307)
        answer.headers.append("Set-Cookie", cookie.header(request, token))
        answer.headers.append("Set-Cookie", attempt.forget(request))
        return answer

    async def _logout(self, request: Request, layer: DepLayer) -> Response:
        """Sign out, here and at once. Who is not signed in is told the same."""
        cookie = self._cookie(layer)
        if (token := cookie.read(request)) is not None:
            await self._sessions(layer).end(token)
        return Response(status_code=204, headers={"Set-Cookie": cookie.forget(request)})

    async def _read(self, connection: HTTPConnection, layer: DataLayer) -> WebSession | None:
        """The session of a request, asked for once."""
        if _READ not in connection.scope:
            token = self._cookie(layer).read(connection)
            found = None if token is None else await self._sessions(layer).read(token)
            connection.scope[_READ] = found
        session: WebSession | None = connection.scope[_READ]
        return session

    def _door(self, layer: DataLayer) -> OpenIdSignIn:
        provider = self._provider()
        if provider is None:
            raise Problem(
                503,
                "No sign-in is configured: GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set.",
                code="sign_in_missing",
            )
        if provider not in self._doors:
            self._doors[provider] = OpenIdSignIn(layer.redis.client(), self._system, provider)
        return self._doors[provider]

    def _sessions(self, layer: DataLayer) -> WebSessions:
        return WebSessions(layer.redis.client(), self._system)

    def _cookie(self, layer: DataLayer, purpose: str = "session") -> HostCookie:
        is_production = layer.settings.env == "production"
        max_age = ATTEMPT if purpose == "sign_in" else LONGEST
        return HostCookie(self._system, max_age, is_production, purpose)
