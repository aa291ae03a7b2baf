"""A source is read once, whatever it is, and what is counted is what was read."""

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.datastructures import UploadFile

from bedplate.errors import FileTooLargeError
from bedplate.files.source import CHUNK_BYTES, Measured, Source

DATA = b"0123456789" * (CHUNK_BYTES // 4)


async def pieces() -> AsyncIterator[bytes]:
    """The data in pieces of odd sizes."""
    for begin in range(0, len(DATA), 99_991):
        yield DATA[begin : begin + 99_991]


def sources(folder: Path) -> list[Source]:
    """Everything that a file may come from."""
    path = folder / "data"
    path.write_bytes(DATA)
    file = io.BytesIO(DATA)
    return [
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        path,
        file,
        UploadFile(io.BytesIO(DATA)),
        pieces(),
    ]


async def test_every_source_is_counted(tmp_path: Path) -> None:
    """Bytes, a path, a file, an upload of FastAPI, an asynchronous iterable."""
    for source in sources(tmp_path):
        measured = Measured(source)
        assert b"".join([piece async for piece in measured]) == DATA
        assert measured.size_bytes == len(DATA)
        assert measured.sha256 == hashlib.sha256(DATA).digest()


async def test_nothing_is_a_file_too() -> None:
    """Empty, and with the digest of nothing."""
    measured = Measured(b"")
    assert [piece async for piece in measured] == []
    assert measured.sha256 == hashlib.sha256().digest()


async def test_the_limit_is_inclusive() -> None:
    """As many bytes as allowed are, one more is not."""
    assert [piece async for piece in Measured(b"12345", limit_bytes=5)] == [b"12345"]
    with pytest.raises(FileTooLargeError, match="more than 4 bytes"):
        assert [piece async for piece in Measured(b"12345", limit_bytes=4)]


async def test_reading_stops_at_the_limit() -> None:
    """An endless source does not fill anything."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    measured = Measured(endless(), limit_bytes=10_000)
    with pytest.raises(FileTooLargeError):
        assert [piece async for piece in measured]
    assert measured.size_bytes == 11_000
