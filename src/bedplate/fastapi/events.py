"""Server-sent events: what a job works on, shown to a browser as it moves, and to its end.

    @router.get("/{id}/events", response_class=EventStream)
    async def follow(request: Request, report: DepReport, layer: DepLayer) -> Response:
        return follow_job(
            request, layer, report.job_id,
            now=report, show=lambda: load(report.id), is_final=lambda report: report.is_done,
        )

Each event is the resource as it stands, so a client that misses some has lost nothing, and one
that reads slowly gets the latest. The last is sent once more as `end`, by which a browser knows to
close; one that comes back all the same, with the id of the last event, is answered 204, at which
it stops. A resource that changes by its job is read anew when the job moves, in a short
transaction of its own; between two events a client holds no connection.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar, cast
from uuid import UUID

from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from bedplate.errors import NotFoundError, PoolExhaustedError, UnreachableError
from bedplate.jobs.following import Follower
from bedplate.layer import DataLayer

# A comment when nothing moves: proxies close what is silent for a minute, some for 30 s.
HEARTBEAT = timedelta(seconds=15)
HEARTBEAT_LINE = b": still here\n\n"
# How soon a browser comes back that was cut off, in milliseconds.
RETRY_MS = 2000
# While what is shown cannot be read.
SHOW_AGAIN = timedelta(seconds=1)
# The name of the last event; the others have none, and reach `onmessage`.
END = "end"
HEADERS = {
    # Each reader's own; and nginx would keep events back to fill its buffer.
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}

T = TypeVar("T", bound=BaseModel)


class EventStream(StreamingResponse):
    """Server-sent events. Ends its generator with itself, so who goes away is forgotten at once.

    Not FastAPI's own class, whose routes must be generators, and so can answer nothing else.
    """

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """As Starlette calls it."""
        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)):
            await super().stream_response(send)


def follow_job(
    request: Request,
    layer: DataLayer,
    job_id: UUID | None,
    *,
    now: T,
    show: Callable[[], Awaitable[T]],
    is_final: Callable[[T], bool],
    tenant: str | None = None,
    heartbeat: timedelta = HEARTBEAT,
) -> Response:
    """A stream of what the job works on: `now`, and what `show` loads whenever the job moves.

    The caller has loaded `now`, so it knows that the client may see it; `show` checks as it did,
    and ends the stream by `NotFoundError`. `tenant` is the job's. The stream ends with the first
    value that is final; when the job ends and the value is not, it ends without `end`, and the
    browser comes back. Ended already and seen (`Last-Event-ID`): 204.
    """
    seen = request.headers.get("last-event-id")
    if is_final(now) and seen == _id_of(now):
        return Response(status_code=204)
    stream = _Stream(layer, job_id, tenant, now, show, is_final, heartbeat, seen)
    return EventStream(stream.events(), headers=HEADERS)


@dataclass(frozen=True, slots=True)
class _Stream(Generic[T]):
    """What one client is sent."""

    layer: DataLayer
    job_id: UUID | None
    tenant: str | None
    now: T
    show: Callable[[], Awaitable[T]]
    is_final: Callable[[T], bool]
    heartbeat: timedelta
    seen: str | None

    async def events(self) -> AsyncGenerator[bytes]:
        yield format_sse_event(retry=RETRY_MS)
        shown = _id_of(self.now)
        if shown != self.seen:
            yield _event(self.now)
        if self.is_final(self.now):
            yield _event(self.now, END)
        elif self.job_id is not None:
            with self.layer.following.follow(self.job_id, tenant=self.tenant) as follower:
                async with aclosing(self._moves(follower, shown)) as moves:
                    async for each in moves:
                        yield each

    async def _moves(self, follower: Follower, shown: str) -> AsyncGenerator[bytes]:
        while True:
            try:
                standing = await follower.next(self.heartbeat)
            except TimeoutError:
                yield HEARTBEAT_LINE
                continue
            if standing is None:
                return
            value = await self._load()
            if value is None:
                return
            if _id_of(value) != shown:
                shown = _id_of(value)
                yield _event(value)
            if self.is_final(value):
                yield _event(value, END)
                return

    async def _load(self) -> T | None:
        """The resource; None when it is gone. A database that is away is waited for."""
        while True:
            try:
                return await self.show()
            except NotFoundError:
                return None
            except (UnreachableError, PoolExhaustedError):
                await asyncio.sleep(SHOW_AGAIN.total_seconds())


def _event(value: BaseModel, name: str | None = None) -> bytes:
    return format_sse_event(data_str=value.model_dump_json(), event=name, id=_id_of(value))


def _id_of(value: BaseModel) -> str:
    """Of what is shown, so that every process gives the same: a browser may come back to any."""
    return hashlib.blake2b(value.model_dump_json().encode(), digest_size=12).hexdigest()
