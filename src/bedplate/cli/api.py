"""uvicorn with the root application, in this process. Called by `serve`."""

import socket
from collections.abc import Callable

import uvicorn

from bedplate.fastapi.root import create_root

# For answers under way when the process is asked to end.
GRACE_SECONDS = 3


def serve(
    host: str, port: int, listener: socket.socket | None, *, on_ready: Callable[[], None]
) -> bool:
    """Serve until SIGINT or SIGTERM; whether it ever started. A given socket wins over the port."""
    config = uvicorn.Config(
        # Made here, not by uvicorn: what is wrong with a system is told as our errors are, and a
        # signal that comes while the systems are imported ends the process at once.
        create_root(),
        host=host,
        port=port,
        # The root logger has been configured; uvicorn's own loggers hand on to it.
        log_config=None,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, on_ready)
    server.run(sockets=None if listener is None else [listener])
    return server.started


class _Server(uvicorn.Server):
    """A uvicorn that says when it accepts requests."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()
