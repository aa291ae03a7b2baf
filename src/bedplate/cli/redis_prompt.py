"""A stand-in for redis-cli where the machine has none: one command, or a prompt.

Speaks Redis' protocol itself (https://redis.io/docs/latest/develop/reference/protocol-spec/): no
client library is imported, and every command passes, known to a library or not. Prints as
redis-cli does: quoted and typed at a terminal, bare in a pipe.
"""

import shlex
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from bedplate.errors import RedisUnreachableError

CONNECT_SECONDS = 5.0
# Commands that go on answering until Ctrl-C.
ENDLESS = frozenset({"subscribe", "psubscribe", "ssubscribe", "monitor"})
LEAVING = frozenset({"quit", "exit"})


class RedisRefusal(str):
    """An error that the server answered with."""

    __slots__ = ()


def answer(url: str, arguments: list[str]) -> int:
    """Run one command, or those that are typed. Exit status 1 when the one command failed."""
    connection = Connection(url)
    try:
        connection.open()
        if arguments:
            return _answer_once(connection, arguments)
        for words in _typed(connection.address):
            if words[0].lower() in LEAVING:
                break
            _answer_once(connection, words)
    except OSError as error:
        raise RedisUnreachableError(
            f"Redis at {connection.address} cannot be reached: {error}", hint="bedplate status"
        ) from error
    finally:
        connection.close()
    return 0


class Connection:
    """One connection, logged in and on the URL's database."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        parts = self._parts
        self._is_socket = parts.scheme == "unix"
        self.address = parts.path if self._is_socket else f"{self._host}:{self._port}"
        self._socket: socket.socket | None = None
        self._file: BinaryIO | None = None

    @property
    def _host(self) -> str:
        return self._parts.hostname or "127.0.0.1"

    @property
    def _port(self) -> int:
        return self._parts.port or 6379

    def open(self) -> None:
        """Connect and log in. Raises `RedisUnreachableError` when the password is refused."""
        if self._is_socket:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(self._parts.path)
        else:
            address = (self._host, self._port)
            self._socket = socket.create_connection(address, timeout=CONNECT_SECONDS)
            if self._parts.scheme == "rediss":
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=self._host)
        # A blocking command (BLPOP) may answer much later.
        self._socket.settimeout(None)
        self._file = self._socket.makefile("rb")
        for words in self._greetings():
            reply = self.ask(words)
            if isinstance(reply, RedisRefusal):
                raise RedisUnreachableError(
                    f"Redis at {self.address} refused {words[0]}: {reply}", hint="bedplate env"
                )

    def close(self) -> None:
        """Leave; nothing when it was never opened."""
        for opened in (self._file, self._socket):
            if opened is not None:
                opened.close()

    def ask(self, words: list[str]) -> Any:
        """Send one command and read its first answer."""
        assert self._socket is not None  # noqa: S101 - a caller's mistake, not a state of Redis
        encoded = [word.encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self._socket.sendall(b"".join(parts))
        return self.read()

    def read(self) -> Any:
        """Read one answer: a status (str), bytes, int, None, a list, or a `RedisRefusal`."""
        assert self._file is not None  # noqa: S101 - a caller's mistake, not a state of Redis
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("it closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RedisRefusal(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return self._file.read(size + 2)[:-2]
        return [self.read() for _ in range(size)]

    def _greetings(self) -> Iterator[list[str]]:
        if self._parts.password:
            user = [unquote(self._parts.username)] if self._parts.username else []
            yield ["AUTH", *user, unquote(self._parts.password)]
        database = self._parts.path.strip("/")
        if database and not self._is_socket:
            yield ["SELECT", database]


def typed_text(reply: Any, indent: str = "") -> str:
    """An answer for people, as redis-cli shows it at a terminal."""
    if reply is None:
        return "(nil)"
    if isinstance(reply, RedisRefusal):
        return f"(error) {reply}"
    if isinstance(reply, int):
        return f"(integer) {reply}"
    if isinstance(reply, list):
        if not reply:
            return "(empty array)"
        width = len(str(len(reply)))
        deeper = indent + " " * (width + 2)
        numbered = [
            f"{number:>{width}}) {typed_text(item, deeper)}"
            for number, item in enumerate(reply, start=1)
        ]
        return f"\n{indent}".join(numbered)
    return reply if isinstance(reply, str) else _quoted(reply)


def bare_text(reply: Any) -> str:
    """An answer for a pipe: the values alone, a line each."""
    if reply is None:
        return ""
    if isinstance(reply, list):
        return "\n".join(bare_text(item) for item in reply)
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)


def _answer_once(connection: Connection, words: list[str]) -> int:
    render = typed_text if sys.stdout.isatty() else bare_text
    reply = connection.ask(words)
    print(render(reply), flush=True)
    while words[0].lower() in ENDLESS and not isinstance(reply, RedisRefusal):
        reply = connection.read()
        print(render(reply), flush=True)
    return 1 if isinstance(reply, RedisRefusal) else 0


def _typed(address: str) -> Iterator[list[str]]:
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        import readline  # noqa: F401 - importing it gives input() a history
    while True:
        try:
            line = input(f"{address}> " if is_terminal else "")
        except EOFError:
            return
        try:
            words = shlex.split(line)
        except ValueError as error:
            print(f"(error) {error}", file=sys.stderr)
            continue
        if words:
            yield words


def _quoted(value: bytes) -> str:
    text = value.decode(errors="backslashreplace")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'
