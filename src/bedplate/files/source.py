"""Where a file's bytes come from, and what is counted of them on the way: size and SHA-256.

A source is bytes, a path, a file object, an upload of FastAPI, or any asynchronous iterable of
bytes. It is read once, in pieces, and nothing of it is kept here.
"""

import asyncio
import hashlib
import inspect
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any, Protocol

from bedplate.errors import FileTooLargeError

CHUNK_BYTES = 1 << 20
# From here on hashing takes longer than going to a thread and back, and would hold up the loop.
THREADED_HASH_BYTES = 1 << 17


class Readable(Protocol):
    """A file object, or an upload whose `read` is to be awaited."""

    def read(self, size: int = ..., /) -> Any:
        """Up to `size` bytes; none at the end."""


Source = bytes | bytearray | memoryview | Path | Readable | AsyncIterable[bytes]


class Measured:
    """A source that counts as it is read; raises `FileTooLargeError` at the first byte too many."""

    def __init__(self, source: Source, *, limit_bytes: int | None = None) -> None:
        self.size_bytes = 0
        self._source = source
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """The digest of what has been read."""
        return self._hash.digest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in _chunks(self._source):
            self.size_bytes += len(chunk)
            if self._limit_bytes is not None and self.size_bytes > self._limit_bytes:
                raise FileTooLargeError(
                    f"the file has more than {self._limit_bytes} bytes",
                    hint="Send a smaller file.",
                    limit_bytes=self._limit_bytes,
                )
            if len(chunk) < THREADED_HASH_BYTES:
                self._hash.update(chunk)
            else:
                await asyncio.to_thread(self._hash.update, chunk)
            yield chunk


async def _chunks(source: Source) -> AsyncIterator[bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source):
            yield bytes(source)
    elif isinstance(source, Path):
        with await asyncio.to_thread(source.open, "rb") as file:
            async for chunk in _read(file):
                yield chunk
    elif isinstance(source, AsyncIterable):
        async for chunk in source:
            yield chunk
    else:
        async for chunk in _read(source):
            yield chunk


async def _read(file: Readable) -> AsyncIterator[bytes]:
    is_async = inspect.iscoroutinefunction(file.read)
    while True:
        # A plain file's read blocks, if only for the disk.
        chunk = await (file.read(CHUNK_BYTES) if is_async else _blocking_read(file))
        if not chunk:
            return
        yield chunk


async def _blocking_read(file: Readable) -> bytes:
    chunk: bytes = await asyncio.to_thread(file.read, CHUNK_BYTES)
    return chunk
