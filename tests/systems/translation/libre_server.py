"""A server that speaks LibreTranslate's interface over a socket, and what a test wants it to do.

`/languages` and `/translate` as the public API has them: `q` a text or a list, `api_key`, errors as
`{"error": …}`. Translates into capitals. `answers` are given, in order, instead of the next ones.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LANGUAGES = [
    {"code": "en", "name": "English", "targets": ["en", "es", "zh-Hans"]},
    {"code": "es", "name": "Spanish", "targets": ["en", "es"]},
    {"code": "zh-Hans", "name": "Chinese", "targets": ["en"]},
]
Answer = tuple[int, dict[str, str], bytes]


def refusal(status: int, reason: str, **headers: str) -> Answer:
    """An error as the interface has it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": reason}).encode()


class LibreServer:
    """On loopback, in threads. Use `with`."""

    def __init__(self, *, api_key: str | None = None, most_characters: int = 2000) -> None:
        self.api_key = api_key
        self.most_characters = most_characters
        self.languages: Any = LANGUAGES
        self.answers: list[Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self.silent = threading.Event()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        here = self

        class Connection(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                here._answer(self, None)

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                here._answer(self, json.loads(self.rfile.read(length)))

            def log_message(self, *_: object) -> None:
                """Nothing: the test's output is not the place."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, connection: BaseHTTPRequestHandler, body: dict[str, Any] | None) -> None:
        if body is not None:
            self.bodies.append(body)
            if self.silent.is_set():
                self.ended.wait()
        if body is not None and self.answers:
            status, headers, content = self.answers.pop(0)
        else:
            status, headers, content = self._reply(connection.path, body)
        try:
            connection.send_response(status)
            for name, value in headers.items():
                connection.send_header(name, value)
            connection.send_header("content-length", str(len(content)))
            connection.end_headers()
            connection.wfile.write(content)
        except OSError:
            return  # the client has gone, as some tests want it to

    def _reply(self, path: str, body: dict[str, Any] | None) -> Answer:
        if path == "/languages":
            return 200, {}, json.dumps(self.languages).encode()
        if path != "/translate" or body is None:
            return refusal(404, "Not found")
        if self.api_key is not None and body.get("api_key") != self.api_key:
            return refusal(403, f"Invalid API key: {body.get('api_key')}")
        asked = body["q"]
        lines = asked if isinstance(asked, list) else [asked]
        if sum(map(len, lines)) > self.most_characters:
            return refusal(400, f"Invalid request: exceeds text limit ({self.most_characters})")
        translated = [line.upper() for line in lines]
        found = translated if isinstance(asked, list) else translated[0]
        return 200, {}, json.dumps({"translatedText": found}).encode()
