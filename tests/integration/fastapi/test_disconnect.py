"""Over a real server: readers who go away in the middle leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import pytest
from fastapi import File, UploadFile
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from starlette.types import ASGIApp, Receive, Scope, Send

from bedplate.fastapi import DepLayer, DepUnitOfWork, create_app
from bedplate.layer import DataLayer
from tests.serving import served

from .conftest import Notes


class Watched:
    """The application, and an event for the moment at which it is done with a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.is_done = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            self.is_done.set()


@pytest.mark.fault(30, holds="I1 I11 I14", every_run=True)
async def test_fault_30_upload_that_breaks_off_stores_nothing(
    layer: DataLayer, notes: Notes
) -> None:
    """A reader whose connection drops in mid-upload: the route never runs."""
    app = create_app(layer)

    @app.post("/")
    async def route(uow: DepUnitOfWork, file: Annotated[UploadFile, File()]) -> None:
        await uow.execute(text("INSERT INTO door_notes (note) VALUES ('half')"))

    watched = Watched(app)
    async with served(watched) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
        )
        await writer.drain()
        writer.close()
        await watched.is_done.wait()
    assert await notes.committed() == []
    assert await at_rest(layer, notes)


async def test_reader_who_leaves_a_stream_frees_its_connection(
    layer: DataLayer, notes: Notes
) -> None:
    """A stream opens a short reading for each step: wherever it is cancelled, nothing is held."""
    app = create_app(layer)

    @app.get("/")
    async def route(layer: DepLayer) -> StreamingResponse:
        async def endless() -> AsyncIterator[str]:
            while True:
                async with layer.reading() as session:
                    one = await session.scalar(text("SELECT 1"))
                yield str(one)

        return StreamingResponse(endless())

    watched = Watched(app)
    async with served(watched) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n")
        assert await reader.read(1)
        writer.close()
        await watched.is_done.wait()
    assert await at_rest(layer, notes)


async def at_rest(layer: DataLayer, notes: Notes) -> bool:
    """No connection is out, and none that is in holds a transaction."""
    pool: Any = layer.database.engine.pool
    return pool.checkedout() == 0 and await notes.idle_in_transaction() == 0
