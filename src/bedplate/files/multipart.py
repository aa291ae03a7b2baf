"""One large object in parts: what does not fit one request, and must not fit memory.

Through boto3 in threads: obstore's multipart upload cannot be told to write once. The object is
there at the end or not at all; what fails or is cancelled takes its parts along. Parts that a
killed process left are aborted by the sweeper. `put_parts` for coroutines, `put_file` for code
that blocks.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import IO, Any

from bedplate.failpoints import failpoint
from bedplate.files.bucket import Bucket
from bedplate.files.clients import client_of
from bedplate.files.refusal import translated

log = logging.getLogger("bedplate.files")

# 10,000 parts are allowed: 80 GB. Two on their way and one being filled: 24 MB of memory.
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2


async def put_parts(
    bucket: Bucket, key: str, chunks: AsyncIterator[bytes], content_type: str
) -> None:
    """Write one object of any size, once. Raises as `ObjectStore.put`."""
    upload = await asyncio.to_thread(PartedUpload, bucket, key, content_type)
    try:
        await _send(upload, chunks)
        failpoint("files.before_complete")
        await asyncio.to_thread(upload.complete)
    except BaseException:
        # Shielded: a cancelled upload must not leave what costs money and no listing shows.
        await asyncio.shield(asyncio.create_task(asyncio.to_thread(upload.abort)))
        raise


def put_file(bucket: Bucket, key: str, head: bytes, file: IO[bytes], content_type: str) -> None:
    """The same for a file whose first part was read already. Blocks."""
    upload = PartedUpload(bucket, key, content_type)
    try:
        with ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
            _send_file(upload, threads, head, file)
        upload.complete()
    except BaseException:
        upload.abort()
        raise


def _send_file(
    upload: "PartedUpload", threads: ThreadPoolExecutor, head: bytes, file: IO[bytes]
) -> None:
    part, number = head, 0
    sending: set[Future[None]] = set()
    while part:
        number += 1
        sending.add(threads.submit(upload.put, number, part))
        if len(sending) >= PARTS_AT_ONCE:
            done, sending = wait(sending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
        part = file.read(PART_BYTES)
    for future in sending:
        future.result()


async def _send(upload: "PartedUpload", chunks: AsyncIterator[bytes]) -> None:
    started: list[asyncio.Task[None]] = []
    sending: set[asyncio.Task[None]] = set()
    try:
        async for part in _parts(chunks):
            number = len(started) + 1
            started.append(asyncio.create_task(asyncio.to_thread(upload.put, number, part)))
            sending.add(started[-1])
            if len(sending) >= PARTS_AT_ONCE:
                done, sending = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*sending)
    except BaseException:
        # Their threads go on whatever is cancelled; a part that lands after the abort would stay.
        while not all(task.done() for task in started):
            await asyncio.shield(asyncio.wait(started))
        for task in started:
            # The first error is raised; the others are looked at, or asyncio would log them.
            task.cancelled() or task.exception()
        raise


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= PART_BYTES:
            yield bytes(buffer[:PART_BYTES])
            del buffer[:PART_BYTES]
    if buffer:
        yield bytes(buffer)


class PartedUpload:
    """A multipart upload that has begun. Its methods block, and may be called from any thread."""

    def __init__(self, bucket: Bucket, key: str, content_type: str) -> None:
        self._bucket = bucket
        self._client = client_of(bucket)
        self._parts: dict[int, dict[str, Any]] = {}
        with translated(bucket, key):
            begun = self._client.create_multipart_upload(
                Bucket=bucket.name, Key=key, ContentType=content_type, ChecksumAlgorithm="SHA256"
            )
        self._target = {"Bucket": bucket.name, "Key": key, "UploadId": begun["UploadId"]}
        self._key = key

    def put(self, number: int, data: bytes) -> None:
        """Send one part with its SHA-256, which S3 checks."""
        with translated(self._bucket, self._key):
            answer = self._client.upload_part(
                **self._target, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256"
            )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumSHA256" in answer:
            part["ChecksumSHA256"] = answer["ChecksumSHA256"]
        self._parts[number] = part

    def complete(self) -> None:
        """Make the object of its parts, unless the key is written already."""
        parts = [self._parts[number] for number in sorted(self._parts)]
        with translated(self._bucket, self._key):
            self._client.complete_multipart_upload(
                **self._target, IfNoneMatch="*", MultipartUpload={"Parts": parts}
            )

    def abort(self) -> None:
        """Give the parts up. Never raises: the sweeper does it again."""
        try:
            self._client.abort_multipart_upload(**self._target)
        except Exception:
            log.warning("An upload could not be aborted; a sweep will", exc_info=True)
