"""Answers only under names that are ours, so that a stranger's name cannot lead here.

A page of another site can let its own host name point to 127.0.0.1 and then read what a program on
this machine answers (DNS rebinding). BEDPLATE_ALLOWED_HOSTS names who is answered. Without it,
production answers every name, since only a proxy knows its own; elsewhere addresses, `localhost`
and names without a dot are answered, which no stranger can own. Health is asked by address.
"""

import ipaddress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bedplate.fastapi.problem import Problem
from bedplate.settings import Settings

HEALTH = "/health"


class AllowedHosts:
    """ASGI middleware: 400 `host_refused` for a request to another name."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        given = (settings.allowed_hosts or "").split(",")
        self._names = frozenset(name.strip().lower() for name in given if name.strip())
        self._takes_all = not self._names and settings.env == "production"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan" or self._takes_all or self._takes(scope):
            await self.app(scope, receive, send)
            return
        problem = Problem(400, "This host name is not served here.", code="host_refused")
        await problem.response()(scope, receive, send)

    def _takes(self, scope: Scope) -> bool:
        if f"{scope['path']}/".startswith(f"{HEALTH}/"):
            return True
        host = name_of(Headers(scope=scope).get("host", ""))
        if not self._names:
            return is_of_this_network(host)
        return host in self._names or any(
            each.startswith(".") and f".{host}".endswith(each) for each in self._names
        )


def name_of(host: str) -> str:
    """The header without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def is_of_this_network(host: str) -> bool:
    """An address, or a name that no one can register: without a dot, or below `localhost`."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(".localhost")
    return True
