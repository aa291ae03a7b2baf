"""Which error becomes which answer: `install_problems(app)` once per application.

Promises: every error is problem details (RFC 9457), also in a mounted application, which needs
its own call. Nothing internal is answered: no traceback, no SQL, no address, no input value. What
is a fault of ours (5xx) is logged; hints are answered outside production only.
"""

import logging
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bedplate.errors import (
    BedplateError,
    CommitUnknownError,
    ConflictError,
    CursorError,
    DatabaseUnreachableError,
    FileMismatchError,
    FileTooLargeError,
    NotFoundError,
    PasswordError,
    PendingMigrationError,
    PoolExhaustedError,
    RedisUnreachableError,
    TooManyAttemptsError,
    UnreachableError,
    UploadEndedError,
)
from bedplate.fastapi.problem import Problem, code_of, title_of

log = logging.getLogger("bedplate.fastapi")

# What is answered as it is raised. Everything else goes on to the server, which logs it.
_REDIS = (RedisConnectionError, RedisTimeoutError)
_EXPECTED = (
    HTTPException,
    RequestValidationError,
    ResponseValidationError,
    BedplateError,
    DBAPIError,
    *_REDIS,
)
# The caller's mistakes: their message is written for the caller.
_CALLERS: tuple[tuple[type[BedplateError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (CursorError, 400),
    (FileTooLargeError, 413),
    (UploadEndedError, 409),
    (FileMismatchError, 422),
    (PasswordError, 422),
    (TooManyAttemptsError, 429),
)
# What passes: the caller may try again.
_PASSING = (UnreachableError, PoolExhaustedError, PendingMigrationError)
# Not 503, which invites whoever stands between to send it again.
_UNKNOWN = (
    "Whether this was stored is not known. Look before you send it again, "
    "or send it with the same Idempotency-Key."
)
_RETRY_AFTER = {"Retry-After": "1"}
# SQLSTATE classes: 40 is a transaction rolled back by the server (serialization, deadlock);
# 08 a lost connection, 53 no resources left, 57P shutting down or starting.
_ROLLED_BACK = "40"
_UNAVAILABLE = ("08", "53", "57P")


def install_problems(app: FastAPI) -> None:
    """Answer every error of this application as problem details."""
    for kind in (*_EXPECTED, Exception):
        app.add_exception_handler(kind, _answer)


def problem_of(error: Exception, *, has_hint: bool = False) -> Problem:
    """The problem that an error is answered as; its hint is a member where that is wanted."""
    if isinstance(error, HTTPException):
        return _from_http_exception(error)
    if isinstance(error, RequestValidationError):
        return _from_invalid_request(error)
    if isinstance(error, BedplateError):
        return _from_bedplate_error(error, has_hint=has_hint)
    if isinstance(error, DBAPIError):
        return _from_database_error(error)
    if isinstance(error, _REDIS):
        return _passing(RedisUnreachableError.code)
    return _internal()


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error, has_hint=_is_development(request))
    if isinstance(error, _EXPECTED):
        _log(request, error, problem)
    return problem.response()


def _log(request: Request, error: Exception, problem: Problem) -> None:
    # A WebSocket's handshake has no method.
    method = request.scope.get("method", "WEBSOCKET")
    extra = {"method": method, "path": request.url.path, "code": problem.code}
    if isinstance(error, HTTPException):
        return
    if isinstance(error, ResponseValidationError):
        # Its text holds the values of the answer, which belong to somebody.
        errors = _without_input(error.errors())
        log.error("An answer does not fit its model", extra={**extra, "errors": errors})
    elif problem.status_code == 503:
        log.warning("A request was refused for now", extra={**extra, "error": str(error)})
    elif problem.status_code >= 500:
        log.error("A request failed", exc_info=error, extra=extra)


def _from_http_exception(error: HTTPException) -> Problem:
    if isinstance(error, Problem):
        return error
    status, detail = error.status_code, error.detail
    if isinstance(detail, str):
        return Problem(status, detail, headers=error.headers)
    # FastAPI lets `detail` be any JSON; RFC 9457 wants a text there.
    return Problem(
        status, title_of(status), code=code_of(status), headers=error.headers, data=detail
    )


def _from_invalid_request(error: RequestValidationError) -> Problem:
    return Problem(
        422,
        "The request does not have the form that is asked for.",
        code="request_invalid",
        errors=_without_input(error.errors()),
    )


def _from_bedplate_error(error: BedplateError, *, has_hint: bool) -> Problem:
    hint: dict[str, Any] = {"hint": error.hint} if has_hint and error.hint else {}
    for kind, status in _CALLERS:
        if isinstance(error, kind):
            headers = _retry_after(error)
            return Problem(status, error.message, code=error.code, headers=headers, **hint)
    if isinstance(error, _PASSING):
        return _passing(error.code, **hint)
    if isinstance(error, CommitUnknownError):
        return Problem(500, _UNKNOWN, code=error.code, **hint)
    return _internal(**hint)


def _retry_after(error: BedplateError) -> dict[str, str] | None:
    wait: timedelta | None = error.data.get("retry_after")
    return None if wait is None else {"Retry-After": str(math.ceil(wait.total_seconds()))}


def _from_database_error(error: DBAPIError) -> Problem:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state.startswith(_ROLLED_BACK):
        return _passing("serialization_failed")
    if error.connection_invalidated or state.startswith(_UNAVAILABLE):
        return _passing(DatabaseUnreachableError.code)
    return _internal()


def _passing(code: str, **members: Any) -> Problem:
    return Problem(
        503,
        "Something that this request needs is not available now; try again.",
        code=code,
        headers=_RETRY_AFTER,
        **members,
    )


def _internal(**members: Any) -> Problem:
    return Problem(500, "Something went wrong here.", **members)


def _without_input(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Where and what, never the value: it may be a secret that was put into the wrong field."""
    return [
        {"loc": list(error["loc"]), "msg": error["msg"], "type": error["type"]} for error in errors
    ]


def _is_development(request: Request) -> bool:
    layer = getattr(request.app.state, "layer", None)
    return layer is not None and layer.settings.env != "production"
