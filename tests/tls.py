"""TLS before a server of the tests, as a provider has it: a socket, a certificate, real handshakes.

The servers from the wheels have no TLS of their own. PostgreSQL's begins in the clear with an
SSLRequest that the server answers with one byte; Redis' begins at once.
"""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Self

from bedplate.servers.certificates import make_certificate

# https://www.postgresql.org/docs/current/protocol-message-formats.html
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
CHUNK_BYTES = 64 * 1024


class TlsFront:
    """Listens on loopback, speaks TLS to clients and plain to the server. Use `async with`."""

    def __init__(self, host: str, port: int, folder: Path, *, is_postgres: bool) -> None:
        self.upstream = (host, port)
        self.is_postgres = is_postgres
        self.port = 0
        self.handshakes = 0
        made = make_certificate("localhost")
        self.authority = folder / "authority.pem"
        self.authority.write_text(made.certificate)
        own = folder / "server.pem"
        own.write_text(made.key + made.certificate)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(own)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        start_tls = None if self.is_postgres else self._context
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=start_tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await self._relay(reader, writer)
        writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_postgres:
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._context)
        self.handshakes += 1
        there, back = await asyncio.open_connection(*self.upstream)
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(_pipe(reader, back)),
                    asyncio.create_task(_pipe(there, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            back.close()


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK_BYTES):
            target.write(data)
            await target.drain()
