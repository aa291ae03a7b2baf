"""The order at the door and what rolls back, on a layer that only notes what happens to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from bedplate.errors import SettingsError, TransactionError
from bedplate.fastapi import DepLayer, DepSession, DepUnitOfWork, Router, install_problems
from bedplate.settings import Settings


class Document(BaseModel):
    title: str


class NotedUnitOfWork:
    """A unit of work without a database."""

    def __init__(self) -> None:
        self.is_rollback_only = False
        self.session = object()

    def mark_rollback(self, reason: str) -> None:
        self.is_rollback_only = True


class NotingLayer:
    """Notes begin, commit and rollback in `events`; COMMIT raises `failure` when there is one."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.events: list[str] = []
        self.failure = failure
        self.settings = Settings.load(variables={})
        self.opened: list[NotedUnitOfWork] = []

    @asynccontextmanager
    async def transaction(self, **_terms: str | None) -> AsyncIterator[NotedUnitOfWork]:
        uow = NotedUnitOfWork()
        self.opened.append(uow)
        try:
            yield uow
        except BaseException:
            self.events.append("rollback")
            raise
        if uow.is_rollback_only:
            self.events.append("rollback")
        elif self.failure:
            self.events.append("failed")
            raise self.failure
        else:
            self.events.append("commit")


def application(layer: NotingLayer, router: APIRouter) -> Any:
    """The router on an application, with a note of each message that is answered."""
    app = FastAPI()
    app.state.layer = layer
    install_problems(app)
    app.include_router(router)

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            layer.events.append(message["type"].removeprefix("http.response."))
            await send(message)

        await app(scope, receive, note)

    return noting


async def get(app: Any, *, raises: bool = False) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=raises)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/")


async def test_commit_comes_before_the_first_byte() -> None:
    """A 2xx that was sent before the COMMIT is a promise that may be broken."""
    layer, router = NotingLayer(), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> str:
        return "done"

    assert (await get(application(layer, router))).status_code == 200
    assert layer.events == ["commit", "start", "body"]


async def test_failed_commit_is_no_success() -> None:
    """The client must not keep a 200 for what was never stored."""
    layer, router = NotingLayer(RuntimeError("disk full")), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> str:
        return "done"

    response = await get(application(layer, router))
    assert response.status_code == 500
    assert "disk" not in response.text
    assert layer.events[:2] == ["failed", "start"]


async def test_returned_error_rolls_back() -> None:
    """A 409 that is returned instead of raised would commit."""
    layer, router = NotingLayer(), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> Response:
        return Response(status_code=409)

    assert (await get(application(layer, router))).status_code == 409
    assert layer.events[0] == "rollback"


async def test_status_set_on_the_response_rolls_back() -> None:
    """FastAPI's other way to answer an error without raising it."""
    layer, router = NotingLayer(), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork, response: Response) -> str:
        response.status_code = 404
        return "none"

    assert (await get(application(layer, router))).status_code == 404
    assert layer.events[0] == "rollback"


async def test_raised_error_rolls_back() -> None:
    """The usual way."""
    layer, router = NotingLayer(), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> str:
        raise HTTPException(409)

    assert (await get(application(layer, router))).status_code == 409
    assert layer.events[0] == "rollback"


async def test_answer_that_does_not_fit_its_model_rolls_back() -> None:
    """The client gets a 500, so nothing may have happened."""
    layer, router = NotingLayer(), Router()

    @router.get("/", response_model=Document)
    async def route(uow: DepUnitOfWork) -> dict[str, str]:
        return {"name": "x"}

    assert (await get(application(layer, router))).status_code == 500
    assert layer.events[0] == "rollback"


async def test_parameter_that_does_not_fit_rolls_back() -> None:
    """The unit of work is open already when FastAPI looks at the parameters."""
    layer, router = NotingLayer(), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork, number: int) -> str:
        return "done"

    assert (await get(application(layer, router))).status_code == 422
    assert layer.events[0] == "rollback"


async def test_cancelled_request_rolls_back() -> None:
    """Cancelled requests were seen to commit: cancel is not rollback by itself."""
    layer, router = NotingLayer(), Router()
    reached = asyncio.Event()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> str:
        reached.set()
        return await asyncio.Future()

    request = asyncio.create_task(get(application(layer, router)))
    await reached.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert layer.events == ["rollback"]


async def test_session_is_the_unit_of_works() -> None:
    """Two dependencies in one request must not be two transactions."""
    layer, router = NotingLayer(), Router()
    seen = []

    @router.get("/")
    async def route(session: DepSession, uow: DepUnitOfWork) -> None:
        seen.append(session is uow.session)

    await get(application(layer, router))
    assert seen == [True]
    assert len(layer.opened) == 1


async def test_application_without_a_layer_is_named() -> None:
    """An application that was put together by hand says what is missing."""
    router = Router()

    @router.get("/")
    async def route(layer: DepLayer) -> None: ...

    app = FastAPI()
    app.include_router(router)
    with pytest.raises(SettingsError, match="no layer"):
        await get(app, raises=True)


async def test_stream_takes_no_unit_of_work() -> None:
    """What streams runs after the COMMIT: it would read from an ended transaction."""
    layer, router = NotingLayer(), Router()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> StreamingResponse:
        return StreamingResponse(iter(["a"]))

    with pytest.raises(TransactionError, match="streamed"):
        await _run_alone(layer, router)
    assert layer.events == ["rollback"]


async def test_foreign_route_is_refused() -> None:
    """On FastAPI's own route a returned 409 would commit, so it gets no unit of work."""
    layer, router = NotingLayer(), APIRouter()

    @router.get("/")
    async def route(uow: DepUnitOfWork) -> str:
        return "done"

    with pytest.raises(TransactionError, match="cannot roll it back") as refused:
        await _run_alone(layer, router)
    assert "Router" in refused.value.hint
    assert layer.events == []


async def test_websocket_is_refused() -> None:
    """It would hold its transaction for as long as somebody looks at a page."""
    layer, router = NotingLayer(), Router()

    @router.websocket("/")
    async def route(uow: DepUnitOfWork) -> None: ...

    app = FastAPI()
    app.state.layer = layer
    app.include_router(router)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None: ...

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(TransactionError, match="unit of work"):
        await app(scope, receive, send)
    assert layer.events == []


async def test_included_router_keeps_the_rule() -> None:
    """Routers are included into routers, with a prefix: the route class must survive."""
    layer, inner, outer = NotingLayer(), Router(), APIRouter()

    @inner.get("/")
    async def route(uow: DepUnitOfWork) -> Response:
        return Response(status_code=400)

    outer.include_router(inner)
    assert (await get(application(layer, outer))).status_code == 400
    assert layer.events[0] == "rollback"


def test_openapi_says_problem_details() -> None:
    """FastAPI would describe a 422 that is never answered in that form."""
    router = Router()

    @router.get("/")
    async def route(number: int) -> str:
        return "done"

    app = FastAPI()
    app.include_router(router)
    responses = app.openapi()["paths"]["/"]["get"]["responses"]
    assert "422" not in responses
    assert "application/problem+json" in responses["default"]["content"]


async def _run_alone(layer: NotingLayer, router: APIRouter) -> None:
    """Without problem details, so that the error itself is seen."""
    app = FastAPI()
    app.state.layer = layer
    app.include_router(router)
    await get(app, raises=True)
