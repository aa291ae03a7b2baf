"""Idempotency-Key: a request that is sent again is answered as the first time, and acts once.

Every route of ours that takes a unit of work honours the header on POST, PUT, PATCH and DELETE.
The answer is kept in the request's own transaction, so it is there exactly when the effects are:

    the same request again          the first answer, and `Idempotent-Replayed: true`
    while the first is worked on    409 `idempotency_key_in_use`
    another request, the same key   422 `idempotency_key_reused`
    an answer of 400 or more        nothing is kept: the key is free

Keys are kept apart by route and by whose they are (`identity.py`), for 24 hours. An answer to
nobody that sets a cookie is not kept: whoever guessed the key would be given it.
"""

import hashlib

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import HTTPConnection

from bedplate.delivery import inbox
from bedplate.delivery.inbox import Answer, Identified
from bedplate.fastapi.identity import Identity, scope_of
from bedplate.fastapi.problem import Problem
from bedplate.unit_of_work import UnitOfWork

HEADER = "idempotency-key"
REPLAYED = {"Idempotent-Replayed": "true"}
METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Cookies and what belongs to the connection are not among them.
KEPT_HEADERS = ("content-type", "location", "etag", "last-modified", "link", "content-language")
CHUNK_BYTES = 1 << 16
# Where a request's key stands in its ASGI scope until its answer is kept.
_BEGUN = "bedplate.idempotency"
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class ReplayedError(Exception):
    """The request was answered before. Leaves the route without running it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("answered before")
        self.answer = answer

    def response(self) -> Response:
        """The first answer."""
        headers = {**self.answer.headers, **REPLAYED}
        return Response(self.answer.body, self.answer.status, headers)


async def begin(connection: HTTPConnection, uow: UnitOfWork, identity: Identity) -> None:
    """Take the key's turn in the unit of work. Raises `ReplayedError`, or a 400, 409, 422."""
    key = connection.headers.get(HEADER)
    if key is None or not isinstance(connection, Request) or connection.method not in METHODS:
        return
    if not 0 < len(key) <= inbox.LONGEST_ID:
        raise Problem(
            400,
            f"An Idempotency-Key has 1 to {inbox.LONGEST_ID} characters.",
            code="idempotency_key_invalid",
        )
    identified = Identified(
        consumer=f"{connection.method} {_template(connection)}",
        scope=scope_of(connection, identity),
        message_id=key,
        fingerprint=await _fingerprint(connection),
    )
    known = await inbox.begin(uow.session, identified)
    if known.is_busy:
        raise Problem(
            409,
            "A request with this Idempotency-Key is being worked on.",
            code="idempotency_key_in_use",
            headers={"Retry-After": "1"},
        )
    if known.answer is None:
        connection.scope[_BEGUN] = identified
    elif known.fingerprint == identified.fingerprint:
        raise ReplayedError(known.answer)
    else:
        raise Problem(
            422,
            "This Idempotency-Key was sent with another request.",
            code="idempotency_key_reused",
        )


def keep(request: Request, response: Response, uow: UnitOfWork) -> None:
    """Have the answer kept by the unit of work's own commit."""
    identified: Identified | None = request.scope.pop(_BEGUN, None)
    if identified is None or (not identified.scope and "set-cookie" in response.headers):
        return
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    answer = Answer(response.status_code, headers, bytes(response.body))

    async def write(session: AsyncSession) -> None:
        await inbox.keep(session, identified, answer, tenant=uow.tenant)

    uow.before_commit(write)


def _template(request: Request) -> str:
    """The route's path with its parameters' names, so that a key belongs to one route."""
    route = request.scope.get("route")
    return str(getattr(route, "path", request.url.path))


async def _fingerprint(request: Request) -> bytes:
    """SHA-256 of what the request says: path, query and content."""
    digest = hashlib.sha256()
    for part in (request.url.path, request.url.query):
        _add(digest, part.encode())
    if request.headers.get("content-type", "").startswith(_FORMS):
        # Parsed already, and not as it was sent: a client draws a new boundary each time.
        for name, value in (await request.form()).multi_items():
            _add(digest, name.encode())
            if isinstance(value, UploadFile):
                await run_in_threadpool(_add_file, digest, value)
            else:
                _add(digest, value.encode())
    else:
        _add(digest, await request.body())
    return digest.digest()


def _add(digest: "hashlib._Hash", part: bytes) -> None:
    """With its length before it, so that no two lists of parts read the same."""
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)


def _add_file(digest: "hashlib._Hash", upload: UploadFile) -> None:
    for part in (upload.filename or "", upload.content_type or "", str(upload.size)):
        _add(digest, part.encode())
    upload.file.seek(0)
    while chunk := upload.file.read(CHUNK_BYTES):
        digest.update(chunk)
    upload.file.seek(0)
