"""An application behind a real server: uvicorn on a free port, on the test's own loop.

And a client that stops in the middle of its upload, as no HTTP library does.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.types import ASGIApp

from bedplate.cli import socket_protocol

# More of a file than Starlette keeps in memory.
HALF_BYTES = 2 << 20
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    b"Content-Type: application/pdf\r\n\r\n"
)


@asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """Its address and the server for the time of the block, WebSockets as `bedplate serve` has.

    What its lifespan would open is open already. `options` are uvicorn's.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, **socket_protocol.options(), **options
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def served(app: ASGIApp, **options: Any) -> AsyncIterator[str]:
    """The same for who needs the address alone."""
    async with serving(app, **options) as (address, _):
        yield address


async def send_half(
    url: str, headers: Mapping[str, str] | None = None, *, sent_bytes: int = HALF_BYTES
) -> tuple[int, Any]:
    """POST the first bytes of a form's file, and no more: the status and the JSON of the answer.

    The form is said to be twice as long, unless the headers say something else.
    """
    said = {
        "Host": "127.0.0.1",
        "Content-Type": "multipart/form-data; boundary=b",
        **({} if headers and "Transfer-Encoding" in headers else _length(2 * sent_bytes)),
        **(headers or {}),
    }
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {said[name]}" for name in said)]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if sent_bytes:
            form = FORM + bytes(sent_bytes)
            is_chunked = "Transfer-Encoding" in said
            writer.write(b"%x\r\n%b\r\n" % (len(form), form) if is_chunked else form)
        return await _answer(reader)
    finally:
        writer.close()
        await writer.wait_closed()


def _length(size_bytes: int) -> dict[str, str]:
    return {"Content-Length": str(size_bytes)}


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = int(head.split(" ", 2)[1])
    if status < 200:
        return status, None
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return status, json.loads(await reader.readexactly(length))
