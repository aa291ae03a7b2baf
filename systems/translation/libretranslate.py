"""LibreTranslate, or any server that speaks its interface, at an address that the settings name.

A chunk goes as the list of its lines, so that what stands between them comes back as it was; a
line longer than one request may carry is cut at a space. Asked again at once is only what was
surely not done: a refused connection, 429, 502, 503. All of it ends within `timeout`. Redirects are
not followed and proxies of the environment not asked: the text and the key go to the address that
was configured, and nowhere else.
"""

import asyncio
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
from pydantic import SecretStr

from systems.translation.engines import (
    EngineDeniedError,
    EngineError,
    EngineName,
    PairUnavailableError,
)

# What public servers take at most; one of one's own may take more.
REQUEST_CHARACTERS = 2000
REQUEST_LINES = 50
ATTEMPTS = 3
PAUSE = timedelta(milliseconds=250)
# A server that wants more patience than this is asked again by the job, later.
LONGEST_PAUSE = timedelta(seconds=5)
# The connection alone: a server that is there answers at once that it is.
CONNECT_TIMEOUT = timedelta(seconds=5)
# Its answer to one request; more is no translation.
MOST_ANSWER_BYTES = 4 * 1024 * 1024
LONGEST_REASON = 200
NOT_DONE = frozenset({429, 502, 503})
# Languages that servers list under a name of their own.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "zh": ("zh-Hans", "zh-Hant"),
    "no": ("nb",),
    "pt": ("pt-BR",),
}


@dataclass(frozen=True)
class LibreTranslateServer:
    """Where it is, and what one request to it may carry."""

    url: str
    api_key: SecretStr | None = None
    request_characters: int = REQUEST_CHARACTERS


class LibreTranslate:
    """One server. Its languages are asked once, and so is whether it speaks the interface."""

    name: EngineName = "libretranslate"
    note: str | None = None

    def __init__(
        self, server: LibreTranslateServer, timeout: timedelta = timedelta(seconds=60)
    ) -> None:
        self.server = server
        self.timeout = timeout
        self._pairs: dict[str, frozenset[str]] = {}

    async def check_pair(self, source: str, target: str) -> None:
        """Raises `PairUnavailableError`, `EngineDeniedError`, `EngineError`."""
        async with self._client() as client, self._bounded():
            await self._names(client, source, target)

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in `target`, line by line. Raises `EngineError`; nothing is kept of a call."""
        pieces = list(cut(text, self.server.request_characters))
        async with self._client() as client, self._bounded():
            names = await self._names(client, source, target)
            for batch in batches(pieces, self.server.request_characters):
                translated = await self._ask(client, [piece.inner for piece in batch], *names)
                for piece, words in zip(batch, translated, strict=True):
                    piece.inner = words
        return "".join(piece.before + piece.inner + piece.after for piece in pieces)

    def __repr__(self) -> str:
        return f"LibreTranslate({self.server.url!r})"

    def _bounded(self) -> "_Bounded":
        return _Bounded(self)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.server.url,
            timeout=httpx.Timeout(
                self.timeout.total_seconds(), connect=CONNECT_TIMEOUT.total_seconds()
            ),
            follow_redirects=False,
            trust_env=False,
            verify=_trusted(),
        )

    async def _names(self, client: httpx.AsyncClient, source: str, target: str) -> tuple[str, str]:
        """What this server calls the two languages."""
        if not self._pairs:
            self._pairs = _pairs_of(await self._send(client, "GET", "/languages"), self)
        for its_source in (source, *ALIASES.get(source, ())):
            for its_target in (target, *ALIASES.get(target, ())):
                if its_target in self._pairs.get(its_source, ()) and its_source != its_target:
                    return its_source, its_target
        known = [
            f"{each}-{other}" for each, others in self._pairs.items() for other in sorted(others)
        ]
        raise PairUnavailableError(self.name, source, target, known[:50])

    async def _ask(
        self, client: httpx.AsyncClient, lines: list[str], source: str, target: str
    ) -> list[str]:
        body: dict[str, Any] = {"q": lines, "source": source, "target": target, "format": "text"}
        if self.server.api_key is not None:
            body["api_key"] = self.server.api_key.get_secret_value()
        answer = await self._send(client, "POST", "/translate", body)
        found = answer.get("translatedText") if isinstance(answer, dict) else None
        if (
            not isinstance(found, list)
            or len(found) != len(lines)
            or not all(isinstance(each, str) and "\0" not in each for each in found)
        ):
            raise self.stranger("translatedText is no list of as many texts as were sent")
        return found

    async def _send(
        self, client: httpx.AsyncClient, method: str, path: str, body: Any = None
    ) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, headers, content = await _exchange(client, method, path, body)
            except httpx.ConnectError as error:
                pause, failure = PAUSE * attempt, self._failure(f"cannot be reached: {error}")
            except httpx.HTTPError as error:
                raise self._failure(f"broke off: {type(error).__name__}") from error
            else:
                if status == 200:
                    return self._decoded(content)
                pause, failure = _pause(headers, attempt), self._refusal(status, content)
                if status not in NOT_DONE:
                    raise failure
            if attempt == ATTEMPTS or pause > LONGEST_PAUSE:
                raise failure
            await asyncio.sleep(pause.total_seconds())
        raise AssertionError("unreachable")

    def _decoded(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            raise self.stranger("the answer is no JSON") from None

    def _refusal(self, status: int, content: bytes) -> EngineError:
        if 300 <= status < 400:
            return self.stranger(f"it redirects ({status}), which is not followed")
        reason = self._reason(content)
        if status in (401, 403):
            return EngineDeniedError(
                f"the translation server refuses the API key or wants one ({status}): {reason}"
            )
        if status == 429:
            return self._failure(f"is asked too often (429): {reason}")
        return self._failure(f"answers {status}: {reason}")

    def _reason(self, content: bytes) -> str:
        """What it says, without our key, whatever it repeats of our request."""
        try:
            said = str(json.loads(content)["error"])
        except (ValueError, KeyError, TypeError):
            return "no reason given"
        key = self.server.api_key
        if key is not None and key.get_secret_value():
            said = said.replace(key.get_secret_value(), "***")
        return " ".join(said.split())[:LONGEST_REASON]

    def _failure(self, what: str) -> EngineError:
        return EngineError(f"the translation server at {self.server.url} {what}")

    def stranger(self, why: str) -> EngineError:
        """The error of a server that does not keep to the interface."""
        return self._failure(f"does not speak LibreTranslate's interface: {why}")

    def too_slow(self) -> EngineError:
        """The error of a server that was given all the time there is."""
        return self._failure(f"did not answer within {self.timeout.total_seconds():g} s")


class _Bounded:
    """`async with`: the whole of a call ends within the engine's timeout, as an `EngineError`."""

    def __init__(self, engine: LibreTranslate) -> None:
        self._engine = engine
        self._timeout = asyncio.timeout(engine.timeout.total_seconds())

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._engine.too_slow() from None


@dataclass
class Piece:
    """What one element of a request translates, and the white space around it."""

    before: str
    inner: str
    after: str


def cut(text: str, most: int) -> Iterator[Piece]:
    """The text line by line, long lines in parts; joined they are the text again."""
    before = ""
    for line in text.splitlines(keepends=True):
        while line.strip():
            part, line = _split(line, most)
            inner = part.strip()
            start = part.index(inner) if inner else len(part)
            if inner:
                yield Piece(before + part[:start], inner, part[start + len(inner) :])
                before = ""
            else:
                before += part
        before += line
    if before:
        yield Piece(before, "", "")


def batches(pieces: list[Piece], most: int) -> Iterator[list[Piece]]:
    """What goes into one request each."""
    batch: list[Piece] = []
    characters = 0
    for piece in pieces:
        if not piece.inner:
            continue
        if batch and (characters + len(piece.inner) > most or len(batch) == REQUEST_LINES):
            yield batch
            batch, characters = [], 0
        batch.append(piece)
        characters += len(piece.inner)
    if batch:
        yield batch


def _split(line: str, most: int) -> tuple[str, str]:
    """The first part of at most this many characters, cut after a sentence, else at a space."""
    if len(line) <= most:
        return line, ""
    head = line[:most]
    sentences = [found.end() for found in re.finditer(r"[.!?…。！？]\s+", head)]
    spaces = [found.end() for found in re.finditer(r"\s+", head)]
    at = (sentences or spaces or [most])[-1]
    return line[:at], line[at:]


def _pairs_of(listed: Any, engine: LibreTranslate) -> dict[str, frozenset[str]]:
    try:
        pairs = {str(each["code"]): frozenset(map(str, each["targets"])) for each in listed}
    except (KeyError, TypeError):
        raise engine.stranger("/languages lists no codes with targets") from None
    if not pairs:
        raise engine.stranger("/languages lists nothing")
    return pairs


async def _exchange(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> tuple[int, httpx.Headers, bytes]:
    content = bytearray()
    async with client.stream(method, path, json=body) as response:
        async for part in response.aiter_bytes():
            content += part
            if len(content) > MOST_ANSWER_BYTES:
                raise httpx.DecodingError("the answer is too long")
        return response.status_code, response.headers, bytes(content)


def _pause(headers: httpx.Headers, attempt: int) -> timedelta:
    said = headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return timedelta(seconds=min(int(said), 86_400))
    return PAUSE * attempt


@cache
def _trusted() -> ssl.SSLContext:
    # Made once: reading the machine's authorities takes 20 ms.
    return ssl.create_default_context()
