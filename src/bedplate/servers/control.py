"""What client and supervisor say to each other: one JSON object a line, over a unix socket.

The client asks {"command": attach | status | stop | detach, …}; the supervisor answers with any
number of {"step": …} and then one of {"state": …}, {"error": …} or {"ended": true}. Only the
owner reaches the socket: it lies in a folder of 0700.
"""

import json
import socket
from pathlib import Path
from typing import Any

from bedplate.errors import PortTakenError, ServerError, WaitTimeoutError

Message = dict[str, Any]
# More than any answer needs; a peer that sends more is not ours.
LONGEST_LINE_BYTES = 4_000_000
ERRORS = {error.code: error for error in (ServerError, PortTakenError, WaitTimeoutError)}


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def connect(path: Path, timeout: float | None) -> socket.socket:
    """The supervisor's socket. Raises `OSError` when nobody listens."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(timeout)
    try:
        link.connect(str(path))
    except BaseException:
        link.close()
        raise
    return link


class Lines:
    """What a socket received, cut into messages. Keeps what is not yet a whole line."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, received: bytes) -> list[Message]:
        """The messages that are whole now. Raises `ValueError` for what is none of ours."""
        self._buffer += received
        if len(self._buffer) > LONGEST_LINE_BYTES:
            raise ValueError("a line is too long")
        *lines, self._buffer = self._buffer.split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        if not all(isinstance(message, dict) for message in messages):
            raise ValueError("a message is no object")
        return messages


def encode_error(error: BaseException) -> Message:
    """An error as the client raises it again."""
    return {
        "error": {
            "code": getattr(error, "code", ServerError.code),
            "message": getattr(error, "message", f"{error.__class__.__name__}: {error}"),
            "hint": getattr(error, "hint", ""),
        }
    }


def decode_error(found: dict[str, str]) -> ServerError | WaitTimeoutError:
    """The opposite of `encode_error`."""
    return ERRORS.get(found["code"], ServerError)(found["message"], hint=found["hint"])
