"""An HTTP proxy before S3 that answers wrongly when told to: fault 34 and its kind.

    with FaultProxy(endpoint) as proxy:
        proxy.fail("PUT", Fault.SLOW_DOWN, times=2)

It passes headers on as they are, Host included, so that signatures stay right.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
BROKEN = b"<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Fault(Enum):
    """What goes wrong."""

    SLOW_DOWN = auto()  # 503 instead of doing it
    LOST_ANSWER = auto()  # done, and 503 answered
    CORRUPT_REQUEST = auto()  # one byte of the body is another
    TRUNCATED_ANSWER = auto()  # half of the body, then the connection ends
    CORRUPT_ANSWER = auto()  # one byte of the body is another
    WRONG_ETAG = auto()  # an ETag that belongs to other bytes
    ERROR_AS_200 = auto()  # status 200 with an error in it, as CompleteMultipartUpload may


@dataclass
class FaultProxy:
    """The proxy's address, and the faults that are to come."""

    endpoint: str
    upstream: str
    # As AWS answers who may not list: 403 for what is missing.
    is_hiding: bool = False
    _faults: list[tuple[str, str, Fault]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, method: str, fault: Fault, *, times: int = 1, query: str = "") -> None:
        """Have the next requests of this method, whose query contains this, go wrong."""
        with self._lock:
            self._faults += [(method, query, fault)] * times

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault for this request; it is used up."""
        with self._lock:
            for each in self._faults:
                if each[0] == method and each[1] in urlsplit(path).query:
                    self._faults.remove(each)
                    return each[2]
        return None

    @property
    def is_used_up(self) -> bool:
        """Whether every fault has happened."""
        return not self._faults


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy before an S3 for the time of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
    server.daemon_threads = True
    proxy = FaultProxy(f"http://127.0.0.1:{server.server_address[1]}", upstream)
    server.proxy = proxy  # type: ignore[attr-defined] # how a handler class is told anything
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_any(self) -> None:
        proxy: FaultProxy = self.server.proxy  # type: ignore[attr-defined] # see above
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.next_fault(self.command, self.path)
        if fault is Fault.SLOW_DOWN:
            self._answer(503, {}, SLOW_DOWN)
            return
        if fault is Fault.CORRUPT_REQUEST:
            body = _changed(body)
        status, headers, found = self._forward(proxy.upstream, body)
        if fault is Fault.LOST_ANSWER:
            status, headers, found = 503, {}, SLOW_DOWN
        elif status == 404 and proxy.is_hiding:
            status, headers, found = 403, {"Content-Type": "application/xml"}, DENIED
        elif fault is Fault.ERROR_AS_200:
            status, headers, found = 200, {"Content-Type": "application/xml"}, BROKEN
        elif fault is Fault.CORRUPT_ANSWER:
            found = _changed(found)
        elif fault is Fault.WRONG_ETAG:
            headers["Etag"] = '"00000000000000000000000000000000"'
        self._answer(status, headers, found, is_cut=fault is Fault.TRUNCATED_ANSWER)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _forward(self, upstream: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            headers = {name.title(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, is_cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in {"Content-Length", "Transfer-Encoding", "Connection"}:
                self.send_header(name, value)
        is_head = self.command == "HEAD" and "Content-Length" in headers
        self.send_header("Content-Length", headers["Content-Length"] if is_head else str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = is_cut


def _changed(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
