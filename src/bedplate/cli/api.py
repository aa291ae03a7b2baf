"""uvicorn with the root application, in this process. Called by `serve`.

What stops the start is raised as it was raised, not printed by uvicorn: the command line tells it
as it tells every error.
"""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bedplate.cli import socket_protocol
from bedplate.errors import PortTakenError, ServerError
from bedplate.fastapi.root import create_root
from bedplate.layer import DataLayer

log = logging.getLogger("bedplate.cli")

# For answers under way when the process is asked to end.
GRACE_SECONDS = 3
BACKLOG = 2048


def serve(
    host: str, port: int, listener: socket.socket | None, *, on_ready: Callable[[], None]
) -> bool:
    """Serve until SIGINT or SIGTERM; whether it ever started. A given socket wins over the port.

    Raises `PortTakenError`, `ServerError`, and whatever a system or its layer does not start with.
    """
    # Made here, not by uvicorn: what is wrong with a system is told as our errors are, and a
    # signal that comes while the systems are imported ends the process at once.
    root = create_root()
    startup = _Startup(root)
    config = uvicorn.Config(
        startup,
        interface="asgi3",
        # The root logger has been configured; uvicorn's own loggers hand on to it.
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **socket_protocol.options(),
    )
    with listener or listen(host, port) as bound:
        server = _Server(config, bound, on_ready, root.state.layers)
        server.run(sockets=[bound])
    if startup.failure is not None:
        raise startup.failure
    return server.started


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `PortTakenError`, `ServerError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {port} on {host} is in use by another program",
                hint=f"bedplate serve --port {port + 1 if port < 65535 else 0}; "
                f"who has it: ss -ltnp 'sport = :{port}'",
                port=port,
            ) from error
        raise ServerError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}",
            hint="Give an address of this machine with --host, and a port above 1023.",
        ) from error


class _Startup:
    """Passes everything on; keeps what the start failed with, and keeps it out of uvicorn's log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: Exception | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        return self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def send_quietly(message: Message) -> None:
            nonlocal has_started
            has_started |= message["type"] == "lifespan.startup.complete"
            if message["type"] == "lifespan.startup.failed":
                message = {"type": message["type"]}
            await send(message)

        try:
            await self._app(scope, receive, send_quietly)
        except Exception as error:
            if not has_started:
                self.failure = error
            raise


class _Server(uvicorn.Server):
    """A uvicorn that says when, and where, it accepts requests."""

    def __init__(
        self,
        config: uvicorn.Config,
        bound: socket.socket,
        on_ready: Callable[[], None],
        layers: Sequence[DataLayer],
    ) -> None:
        super().__init__(config)
        self._bound = bound
        self._on_ready = on_ready
        self._layers = layers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, then say so. A failed one ends `run`, not the process."""
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True
        if self.started:
            host, port = self._bound.getsockname()[:2]
            log.info("Serving on http://%s:%s", f"[{host}]" if ":" in host else host, port)
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as usual; streams of events end first, which would else last for the grace."""
        for layer in self._layers:
            layer.following.end()
        await super().shutdown(sockets)
