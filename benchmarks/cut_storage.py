"""A door before S3 that hangs up on every PUT while it is told to; all else passes.

The storage is there and answers, and dies when bytes are sent: what a full disk, a network that
breaks or a restart of it looks like. Called by `lost_file.py`.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16


@dataclass
class CutStorage:
    """Where the door is, whether it cuts, and how many requests it has cut."""

    endpoint: str
    is_cutting: bool = False
    cuts: int = 0


@contextmanager
def cut_storage(upstream: str) -> Iterator[CutStorage]:
    """A door before this endpoint for the time of the block."""
    address = urlsplit(upstream)

    class Door(BaseRequestHandler):
        def handle(self) -> None:
            behind = socket.create_connection((str(address.hostname), address.port or 80))
            with behind, contextlib.suppress(OSError):
                back = threading.Thread(target=_pump, args=(behind, self.request), daemon=True)
                back.start()
                while piece := self.request.recv(PIECE_BYTES):
                    # Clients send a request's head in a piece of its own.
                    if piece.startswith(b"PUT ") and storage.is_cutting:
                        storage.cuts += 1
                        break
                    behind.sendall(piece)
                behind.shutdown(socket.SHUT_RDWR)

    server = ThreadingTCPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    storage = CutStorage(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
