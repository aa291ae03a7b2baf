"""Every error is problem details, and none says more than the caller may know."""

import logging
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from bedplate.errors import (
    BedplateError,
    ConflictError,
    CursorError,
    DatabaseUnreachableError,
    NotFoundError,
    PoolExhaustedError,
    RoleRefusedError,
)
from bedplate.fastapi import Problem, install_problems

CANARY = "canary-s3cret"


class Credentials(BaseModel):
    name: str
    age: int


class _DriverError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(CANARY)
        self.sqlstate = sqlstate


def application(error: Exception) -> FastAPI:
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    @app.post("/")
    async def take(credentials: Credentials) -> None: ...

    return app


async def send(app: Any, method: str = "GET", path: str = "/", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **options)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFoundError("no document 7"), 404, "not_found"),
        (ConflictError("exists already"), 409, "conflict"),
        (CursorError("damaged"), 400, "cursor_invalid"),
        (PoolExhaustedError(CANARY), 503, "pool_exhausted"),
        (DatabaseUnreachableError(CANARY), 503, "database_unreachable"),
        (RoleRefusedError(CANARY), 500, "internal_server_error"),
        (DBAPIError(CANARY, {}, _DriverError("40001")), 503, "serialization_failed"),
        (DBAPIError(CANARY, {}, _DriverError("40P01")), 503, "serialization_failed"),
        (DBAPIError(CANARY, {}, _DriverError("57P01")), 503, "database_unreachable"),
        (DBAPIError(CANARY, {}, _DriverError("23503")), 500, "internal_server_error"),
        (ValueError(CANARY), 500, "internal_server_error"),
        (HTTPException(418, "short and stout"), 418, "im_a_teapot"),
        (Problem(422, "no such language", code="language_unknown"), 422, "language_unknown"),
    ],
)
async def test_error_becomes_its_problem(error: Exception, status: int, code: str) -> None:
    """Status and code are for programs, and nothing in it is for an attacker."""
    response = await send(application(error))
    body = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["code"]) == (status, code)
    assert {"type", "title", "detail"} <= body.keys()
    assert CANARY not in response.text


async def test_what_passes_says_when_to_try_again() -> None:
    """A client that waits as told comes back when there is a connection."""
    response = await send(application(PoolExhaustedError("all in use")))
    assert int(response.headers["retry-after"]) >= 1


async def test_the_callers_mistakes_are_named() -> None:
    """The message of these errors is written for the caller."""
    assert (await send(application(NotFoundError("no document 7")))).json()["detail"] == (
        "no document 7"
    )


async def test_invalid_request_echoes_no_input() -> None:
    """A password put into the wrong field must not come back, nor reach a log of answers."""
    response = await send(
        application(ValueError()), "POST", json={"name": 7, "age": CANARY, CANARY: 1}
    )
    assert response.status_code == 422
    assert CANARY not in response.text
    assert [error["loc"] for error in response.json()["errors"]] == [
        ["body", "name"],
        ["body", "age"],
    ]


async def test_body_that_is_no_json_is_a_problem() -> None:
    """FastAPI raises this one before it looks at the model."""
    response = await send(
        application(ValueError()),
        "POST",
        content=b'{"name": ' + CANARY.encode(),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422
    assert CANARY not in response.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/no", 404), ("PUT", "/", 405)])
async def test_unknown_path_and_method_are_problems(method: str, path: str, status: int) -> None:
    """Errors that no route raised have the same form, and keep their headers."""
    response = await send(application(ValueError()), method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert status != 405 or "GET" in response.headers["allow"]


async def test_mounted_application_answers_problems() -> None:
    """Systems are mounted: neither the outer handlers nor the outer lifespan reach them."""
    root = FastAPI()
    install_problems(root)
    root.mount("/shop", application(ValueError(CANARY)))
    for path, status in (("/shop/", 500), ("/shop/no", 404), ("/no", 404)):
        response = await send(root, path=path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert CANARY not in response.text


async def test_detail_that_is_no_text_is_kept_apart() -> None:
    """RFC 9457 wants a text as detail; FastAPI lets people raise anything."""
    body = (await send(application(HTTPException(400, {"field": "age"})))).json()
    assert body["detail"] == "Bad Request"
    assert body["data"] == {"field": "age"}


async def test_status_without_body_has_none() -> None:
    """A 304 with a body breaks the connection's framing."""
    response = await send(application(HTTPException(304)))
    assert response.status_code == 304
    assert response.content == b""


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (RoleRefusedError("x"), logging.ERROR),
        (PoolExhaustedError("x"), logging.WARNING),
        (NotFoundError("x"), None),
    ],
)
async def test_own_faults_are_logged(
    error: BedplateError, level: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What the caller is not told must be found in the log; what it did wrong is not our news."""
    with caplog.at_level(logging.INFO, "bedplate.fastapi"):
        await send(application(error))
    assert [record.levelno for record in caplog.records] == ([level] if level else [])


async def test_answer_that_does_not_fit_is_logged_without_its_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """FastAPI's own text holds them, and they belong to somebody."""
    app = application(ValueError())

    @app.get("/answer", response_model=Credentials)
    async def answer() -> dict[str, str]:
        return {"name": "x", "age": CANARY}

    with caplog.at_level(logging.DEBUG):
        response = await send(app, path="/answer")
    assert response.status_code == 500
    assert CANARY not in response.text
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        "An answer does not fit its model"
    ]
    assert not any(CANARY in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(("env", "has_hint"), [("development", True), ("production", False)])
async def test_hint_is_answered_outside_production_only(env: str, has_hint: bool) -> None:
    """Hints name commands and variables: of use to a developer, and to nobody else."""
    app = application(PoolExhaustedError("x", hint="Raise BEDPLATE_POOL_SIZE"))
    app.state.layer = _LayerIn(env)
    assert ("hint" in (await send(app)).json()) is has_hint


class _LayerIn:
    """As much of a layer as the hint depends on."""

    def __init__(self, env: str) -> None:
        self.settings = self
        self.env = env
