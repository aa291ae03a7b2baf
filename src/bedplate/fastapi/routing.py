"""The route that knows its answer before the COMMIT, and who may ask before the body.

FastAPI closes function-scoped dependencies after the answer is made and before its first byte is
sent. `Route` stands in between: an answer of 400 or more, or one that streams, rolls the request's
unit of work back. `dependencies.py` refuses to open one anywhere else. What is enqueued in a route
carries the request's trace.

FastAPI reads the whole body before it asks any dependency, a form's files onto the disk. A router's
gate is asked first: whom it refuses sends its body to nobody.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from bedplate.errors import TransactionError
from bedplate.fastapi.idempotency import ReplayedError, keep
from bedplate.fastapi.problem import PROBLEM_RESPONSES
from bedplate.jobs import trace

if TYPE_CHECKING:
    from bedplate.unit_of_work import UnitOfWork

# Where a request's units of work stand in its ASGI scope while `Route` runs it.
_OPENED = "bedplate.units_of_work"

# Raises the answer to whoever may not ask; what it returns is not looked at.
Gate = Callable[[HTTPConnection], Awaitable[object]]


class Route(APIRoute):
    """A route whose unit of work commits only with an answer below 400."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, and afterwards a look at the answer."""
        answer = super().get_route_handler()

        async def answer_and_look(request: Request) -> Response:
            opened: list[UnitOfWork] = []
            request.scope[_OPENED] = opened
            headers = request.headers
            received = trace.accept(headers.getlist("traceparent"), headers.getlist("tracestate"))
            try:
                await self._admit(request)
                with trace.carrying(received):
                    response = await answer(request)
            except ReplayedError as replay:
                return replay.response()
            _look(response, opened)
            for uow in opened:
                if not uow.is_rollback_only:
                    keep(request, response, uow)
            return response

        return answer_and_look

    async def _admit(self, request: Request) -> None:
        """Everybody."""


class Router(APIRouter):
    """An `APIRouter` of such routes; its OpenAPI says that errors are problem details.

    `gate` is called with every request before its body is read, and raises for whom it refuses:
    `gate=sign_in.session` answers a 401 to who is not signed in.
    """

    def __init__(
        self,
        *,
        gate: Gate | None = None,
        prefix: str = "",
        tags: list[str | Enum] | None = None,
        dependencies: Sequence[Depends] | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("route_class", Route)
        if gate is not None:
            options["route_class"] = _behind(gate, options["route_class"])
        options.setdefault("responses", PROBLEM_RESPONSES)
        super().__init__(prefix=prefix, tags=tags, dependencies=dependencies, **options)


def _behind(gate: Gate, route_class: type[Route]) -> type[Route]:
    async def admit(_route: Route, request: Request) -> None:
        await gate(request)

    # A class of its own: FastAPI makes an included router's routes anew, of their class alone.
    return type(f"Gated{route_class.__name__}", (route_class,), {"_admit": admit})


def note_unit_of_work(connection: HTTPConnection, uow: "UnitOfWork") -> None:
    """Tell the route which unit of work its answer decides about."""
    connection.scope[_OPENED].append(uow)


def refuse_foreign_route(connection: HTTPConnection) -> None:
    """Raise `TransactionError` when no `Route` runs this request (or it is a WebSocket)."""
    if _OPENED not in connection.scope:
        raise TransactionError(
            f"{connection.url.path} takes a unit of work, but its route cannot roll it back",
            hint="Declare the route on bedplate.fastapi.Router, or on an app made by create_app; "
            "a WebSocket opens layer.transaction() for each step instead.",
        )


def _look(response: Response, opened: "list[UnitOfWork]") -> None:
    if not opened:
        return
    # Both Starlette's streams and sse-starlette's have this attribute; they share no class.
    if hasattr(response, "body_iterator"):
        raise TransactionError(
            "a streamed answer would be made after the COMMIT of its unit of work",
            hint="In what streams, open layer.reading() or layer.transaction() for each step.",
        )
    if response.status_code >= 400:
        for uow in opened:
            uow.mark_rollback(f"the answer is {response.status_code}")
