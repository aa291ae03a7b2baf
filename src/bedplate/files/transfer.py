"""Files to and from the bucket, for code that blocks: scripts, tasks that are no coroutines.

    upload_file(Path("report.pdf"), "reports/2026/11.pdf")
    download_file("reports/2026/11.pdf", Path("report.pdf"))
    delete_file("reports/2026/11.pdf")

They work on plain keys of the caller's and know no rows: what must commit with rows is
`uow.store_file`. Streams through a few megabytes of memory, whatever the size. Raises
`ObjectNotFoundError`, `ObjectDeniedError`, `ObjectExistsError`, `StorageUnreachableError`.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from bedplate.files.bucket import Bucket
from bedplate.files.clients import client_of
from bedplate.files.keys import ANY_TYPE
from bedplate.files.multipart import PART_BYTES, put_file
from bedplate.files.refusal import translated
from bedplate.settings import Settings

# Read from the socket at a time.
CHUNK_BYTES = 1 << 18


def upload_file(
    source: Path | IO[bytes],
    key: str,
    *,
    content_type: str = ANY_TYPE,
    settings: Settings | None = None,
) -> None:
    """Write an object from a file, once: raises `ObjectExistsError` when the key is written."""
    bucket = _bucket(settings)
    with _opened(source) as file:
        head = file.read(PART_BYTES)
        if len(head) == PART_BYTES:
            put_file(bucket, key, head, file, content_type)
            return
    with translated(bucket, key):
        client_of(bucket).put_object(
            Bucket=bucket.name,
            Key=key,
            Body=head,
            ContentType=content_type,
            ChecksumAlgorithm="SHA256",
            IfNoneMatch="*",
        )


def download_file(key: str, target: Path | IO[bytes], *, settings: Settings | None = None) -> None:
    """Read an object into a file. At a path nothing appears before the last byte is there."""
    bucket = _bucket(settings)
    if isinstance(target, Path):
        with _appearing(target) as file:
            _download(bucket, key, file)
    else:
        _download(bucket, key, target)


def delete_file(key: str, *, settings: Settings | None = None) -> None:
    """Delete an object at once. One that is gone already is no error."""
    bucket = _bucket(settings)
    with translated(bucket, key):
        client_of(bucket).delete_object(Bucket=bucket.name, Key=key)


def _bucket(settings: Settings | None) -> Bucket:
    return Bucket.from_settings(settings or Settings.load())


def _opened(source: Path | IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def _download(bucket: Bucket, key: str, file: IO[bytes]) -> None:
    with translated(bucket, key):
        # With ENABLED boto3 compares the checksum that the object was put with, at the end.
        found = client_of(bucket).get_object(Bucket=bucket.name, Key=key, ChecksumMode="ENABLED")
    with closing(found["Body"]) as body:
        while chunk := _read(bucket, key, body):
            file.write(chunk)


def _read(bucket: Bucket, key: str, body: IO[bytes]) -> bytes:
    with translated(bucket, key):
        return body.read(CHUNK_BYTES)


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place when the block ends well, and goes otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
