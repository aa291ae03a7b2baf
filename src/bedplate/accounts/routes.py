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
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection

from bedplate.accounts.browser import BrowserSessions
from bedplate.accounts.openid import ATTEMPT, Identity, OpenIdSignIn, Provider, own_path
from bedplate.accounts.sessions import WebSession
from bedplate.errors import SignInRefusedError
from bedplate.fastapi import DepLayer, HostCookie, Problem, get_layer
from bedplate.fastapi import Identity as RequestIdentity
from bedplate.layer import DataLayer
from bedplate.unit_of_work import UnitOfWork

FindUser = Callable[[UnitOfWork, Identity], Awaitable[Any]]
LONGEST_PARAMETER = 4096

Parameter = Annotated[str, Query(max_length=LONGEST_PARAMETER)]


class SignIn:
    """The sign-in of one system. `provider` is asked at each login, and None when there is none."""

    def __init__(
        self, system: str, provider: Callable[[], Provider | None], find_user: FindUser
    ) -> None:
        self._system = system
        self._provider = provider
        self._find_user = find_user
        self._sessions = BrowserSessions(system)
        self._doors: dict[Provider, OpenIdSignIn] = {}
        self.router = APIRouter(prefix="/auth", tags=["accounts"])
        redirects = partial(self.router.get, status_code=307, response_class=RedirectResponse)
        redirects("/google/login")(self._login)
        redirects("/google/callback")(self._callback)
        self.router.post("/logout", status_code=204)(self._logout)

    async def session(self, connection: HTTPConnection) -> WebSession:
        """Who asks: for `Depends`, and a router's `gate`.

        Raises a 401 for who is not signed in; without Redis a 503.
        """
        return await self._sessions.require(connection)

    async def identify(self, connection: HTTPConnection) -> RequestIdentity:
        """The same for `create_app`: the user is the actor of the request's unit of work."""
        session = await self._sessions.find(connection, await get_layer(connection))
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
        attempt = self._cookie(layer)
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
        attempt = self._cookie(layer)
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
        begun = await self._sessions.begin(request, layer, str(user_id))
        answer = RedirectResponse(next_path, 307)
        answer.headers.append("Set-Cookie", begun)
        answer.headers.append("Set-Cookie", attempt.forget(request))
        return answer

    async def _logout(self, request: Request, layer: DepLayer) -> Response:
        """Sign out, here and at once. Who is not signed in is told the same."""
        ended = await self._sessions.end(request, layer)
        return Response(status_code=204, headers={"Set-Cookie": ended})

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

    def _cookie(self, layer: DataLayer) -> HostCookie:
        """What a browser keeps between the login and the callback."""
        return HostCookie(self._system, ATTEMPT, layer.settings.env == "production", "sign_in")
