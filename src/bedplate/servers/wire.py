"""Just enough of PostgreSQL's protocol to ask whether it is ready and to set it up.

Importing a driver takes longer than a warm start of the server; this is 3 ms. SCRAM only, no TLS:
it is for our own server on this machine. https://www.postgresql.org/docs/current/protocol.html
"""

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

PROTOCOL_3_0 = 196608
# What PostgreSQL itself takes for new passwords (scram_iterations).
SCRAM_ITERATIONS = 4096
AUTHENTICATION_OK, SASL, SASL_CONTINUE, SASL_FINAL = 0, 10, 11, 12
Row = tuple[str | None, ...]


class PostgresRefusal(Exception):  # noqa: N818 - what the server said; callers make it an error
    """The server answered with an error."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{message} ({sqlstate})")
        self.sqlstate = sqlstate
        self.message = message


class PostgresConnection:
    """One connection over the server's socket. Blocking; every answer within `timeout`."""

    def __init__(self, folder: Path, port: int, *, timeout: float = 10.0) -> None:
        self._path = str(folder / f".s.PGSQL.{port}")
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._buffer = b""
        self.parameters: dict[str, str] = {}

    def open(self, user: str, password: str, database: str) -> Self:
        """Connect. Raises `OSError` when nobody listens, `PostgresRefusal` when it says no."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._timeout)
        try:
            self._socket.connect(self._path)
            self._start(user, password, database)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Leave; the server notices by itself."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def fetch(self, sql: str, *parameters: str) -> list[Row]:
        """Run one statement with its parameters as text. Raises `PostgresRefusal`."""
        values = b"".join(
            struct.pack("!i", len(value.encode())) + value.encode() for value in parameters
        )
        self._send(b"P", b"\0" + sql.encode() + b"\0" + struct.pack("!h", 0))
        self._send(b"B", b"\0\0" + struct.pack("!hh", 0, len(parameters)) + values + b"\0\0")
        self._send(b"E", b"\0" + struct.pack("!i", 0))
        self._send(b"S", b"")
        rows: list[Row] = []
        refusal: PostgresRefusal | None = None
        while True:
            kind, body = self._receive()
            if kind == b"D":
                rows.append(_read_row(body))
            elif kind == b"E":
                refusal = _read_refusal(body)
            elif kind == b"Z":
                if refusal is not None:
                    raise refusal
                return rows

    def _start(self, user: str, password: str, database: str) -> None:
        words = ("user", user, "database", database, "application_name", "bedplate")
        body = struct.pack("!i", PROTOCOL_3_0) + b"".join(w.encode() + b"\0" for w in words) + b"\0"
        self._require().sendall(struct.pack("!i", len(body) + 4) + body)
        scram: ScramClient | None = None
        while True:
            kind, body = self._receive()
            if kind == b"E":
                raise _read_refusal(body)
            if kind == b"S":
                name, value, _ = body.decode().split("\0")
                self.parameters[name] = value
            if kind == b"Z":
                return
            if kind != b"R":
                continue
            (step,) = struct.unpack("!i", body[:4])
            if step == SASL:
                scram = ScramClient(password)
                first = scram.first()
                size = struct.pack("!i", len(first))
                self._send(b"p", b"SCRAM-SHA-256\0" + size + first)
            elif step == SASL_CONTINUE and scram is not None:
                self._send(b"p", scram.final(body[4:]))
            elif step not in (AUTHENTICATION_OK, SASL_FINAL):
                raise PostgresRefusal("28000", "the server asks for another authentication")

    def _send(self, kind: bytes, body: bytes) -> None:
        self._require().sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def _receive(self) -> tuple[bytes, bytes]:
        head = self._read(5)
        (size,) = struct.unpack("!i", head[1:])
        return head[:1], self._read(size - 4)

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            received = self._require().recv(65536)
            if not received:
                raise ConnectionResetError("the server closed the connection")
            self._buffer += received
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _require(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionResetError("the connection is closed")
        return self._socket


class ScramClient:
    """The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._bare = f"n=,r={secrets.token_urlsafe(18)}"

    def first(self) -> bytes:
        """The first message."""
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """The proof, for the server's challenge."""
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = _salted(self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = _mac(salted, b"Client Key")
        unproven = f"c=biws,r={fields['r']}"
        message = f"{self._bare},{challenge.decode()},{unproven}".encode()
        signature = _mac(hashlib.sha256(client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{unproven},p={base64.b64encode(proof).decode()}".encode()


def scram_verifier(password: str) -> str:
    """What the server stores of a password: sent instead of it, so that no log can ever hold it."""
    salt = secrets.token_bytes(16)
    salted = _salted(password, salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(_mac(salted, b"Client Key")).digest()
    server = _mac(salted, b"Server Key")
    salt64, stored64, server64 = (
        base64.b64encode(part).decode() for part in (salt, stored, server)
    )
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _read_row(body: bytes) -> Row:
    (count,) = struct.unpack("!h", body[:2])
    values: list[str | None] = []
    at = 2
    for _ in range(count):
        (size,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        values.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return tuple(values)


def _read_refusal(body: bytes) -> PostgresRefusal:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return PostgresRefusal(fields.get(b"C", "XX000"), fields.get(b"M", "no message"))
