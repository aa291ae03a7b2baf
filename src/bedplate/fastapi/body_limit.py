"""Refuses a request whose body is too long, while it is read and not after it was stored.

`app.add_middleware(BodyLimit, max_bytes=…)`. A length that is declared too long is refused before
a byte is read. Starlette's own limit (1.10) answers plain text; errors here are problem details.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bedplate.fastapi.problem import Problem


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what is read of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif _declared(scope) > self.max_bytes:
            await self._refusal().response()(scope, receive, send)
        else:
            await self.app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        read_bytes = 0

        async def receive_and_count() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > self.max_bytes:
                raise self._refusal()
            return message

        return receive_and_count

    def _refusal(self) -> Problem:
        return Problem(
            413,
            f"The body of a request may have {self.max_bytes} bytes at most.",
            code="content_too_large",
            max_bytes=self.max_bytes,
        )


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0
