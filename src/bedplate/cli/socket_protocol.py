"""uvicorn's WebSockets, with an end to those that nobody reads.

A browser that does not read leaves a full buffer: uvicorn would wait for it without a bound before
it closes, and keep the connection after that. Here a closing waits for nothing, the kernel is asked
to hold little, and what is closed is gone after a while. Sockets that a stop of the server ends are
told that it goes away (1001). Named in uvicorn's configuration by `api.py`.
"""

import asyncio
import contextlib
import socket
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

GOING_AWAY = 1001
# How long a peer has to read the rest, and the closing frame after it.
LINGER_SECONDS = 10.0
# Of the kernel, for one socket; without it up to some megabytes wait for who does not read.
SEND_BUFFER_BYTES = 64 << 10
# More than any text that a system should take; each has a bound of its own below this.
LARGEST_FRAME_BYTES = 1 << 20


class SocketProtocol(WebSocketsSansIOProtocol):
    """As uvicorn's."""

    def connection_made(self, transport: BaseTransport) -> None:
        """As uvicorn's."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    async def send(self, message: Any) -> None:
        """As uvicorn's; a closing goes out behind what was written, and does not wait for it."""
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # A refusal is an answer, too: uvicorn would log that there was none.
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """As uvicorn's."""
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LINGER_SECONDS, self._give_up)

    def shutdown(self) -> None:
        """The server stops."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": GOING_AWAY})
        self.conn.send_close(GOING_AWAY, "the server stops")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def _give_up(self) -> None:
        if not self.disconnected:
            self.transport.abort()


def options() -> dict[str, Any]:
    """What uvicorn's `Config` is told about WebSockets."""
    protocol: type[asyncio.Protocol] = SocketProtocol
    return {
        "ws": protocol,
        "ws_max_size": LARGEST_FRAME_BYTES,
        # Short texts gain nothing from it, and it holds buffers for each socket.
        "ws_per_message_deflate": False,
    }
