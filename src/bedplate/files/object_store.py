"""Objects of one bucket, asynchronously: put once, get, head, delete, list, and links that expire.

The data path is obstore's, which was measured the faster (benchmarks/objects.py); links and large
uploads are boto3's, in threads. Nothing is overwritten: every put carries `If-None-Match: *`.
Raises `ObjectNotFoundError`, `ObjectDeniedError`, `ObjectExistsError`, `StorageUnreachableError`.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bedplate.errors import FileMismatchError, ObjectNotFoundError
from bedplate.files.bucket import Bucket
from bedplate.files.clients import client_of, make_store
from bedplate.files.keys import ANY_TYPE, attachment, new_key
from bedplate.files.multipart import put_parts
from bedplate.files.refusal import translated
from bedplate.guard import S3_HINT, check

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

# In one request up to here: measured the faster, and kept in memory. Above, in parts.
ONE_PUT_BYTES = 16 << 20
STREAM_BYTES = 1 << 20
PAGE = 1000
LONGEST_GET_LINK = timedelta(minutes=5)
LONGEST_PUT_LINK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What S3 says of an object. `sha256` only where it was given when the object was put."""

    key: str
    size_bytes: int
    modified_at: datetime
    content_type: str | None = None
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class PutLink:
    """A link to put one object once, and the headers that must be sent with it as they are."""

    url: str
    headers: Mapping[str, str]


class ObjectStore:
    """The objects of one bucket. Opens nothing: each call asks S3, over connections it keeps."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def __repr__(self) -> str:
        return f"<ObjectStore {self.bucket}>"

    @cached_property
    def _store(self) -> "S3Store":
        return make_store(self.bucket)

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write an object of up to some megabytes, once."""
        import obstore

        check("S3 PutObject", S3_HINT)
        with translated(self.bucket, key):
            await obstore.put_async(
                self._store,
                key,
                data,
                mode="create",
                use_multipart=False,
                attributes={"Content-Type": content_type},
            )

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> None:
        """Write an object of any size, once, with a few pieces of it in memory at a time."""
        head: list[bytes] = []
        size_bytes = 0
        async for chunk in chunks:
            head.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > ONE_PUT_BYTES:
                await put_parts(self.bucket, key, _rejoined(head, chunks), content_type)
                return
        await self.put(key, head[0] if len(head) == 1 else b"".join(head), content_type)

    async def read(self, key: str) -> bytes:
        """A whole object, for small ones."""
        import obstore

        with translated(self.bucket, key):
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """An object in pieces of about a megabyte. What breaks on the way is raised."""
        import obstore

        with translated(self.bucket, key):
            found = await obstore.get_async(self._store, key)
            pieces = aiter(found.stream(min_chunk_size=STREAM_BYTES))
        while True:
            with translated(self.bucket, key):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def head(self, key: str) -> ObjectInfo:
        """Size, type and checksum of an object."""
        found = await self._ask("head_object", key=key, ChecksumMode="ENABLED")
        checksum = found.get("ChecksumSHA256")
        is_whole = checksum is not None and "-" not in checksum
        return ObjectInfo(
            key=key,
            size_bytes=found["ContentLength"],
            modified_at=found["LastModified"],
            content_type=found.get("ContentType"),
            # Of an object put in parts it is the checksum of their checksums.
            sha256=base64.b64decode(checksum) if is_whole else None,
        )

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete up to 1,000 objects. Those that are gone already are no error."""
        import obstore

        if not keys:
            return
        check("S3 DeleteObjects", S3_HINT)
        try:
            with translated(self.bucket):
                await obstore.delete_async(self._store, list(keys))
        except ObjectNotFoundError as error:
            if error.data.get("reason") == "no_such_bucket":
                raise

    async def probe(self, system: str) -> None:
        """Put, get and delete an object: all that an identity of least privilege may do.

        Asking for a key that is not there would not tell: without the right to list, AWS answers
        403 for it.
        """
        key = new_key(system, datetime.now(UTC))
        await self.put(key, key.encode(), ANY_TYPE)
        try:
            found = await self.read(key)
        finally:
            await self.delete([key])
        if found != key.encode():
            raise FileMismatchError(f"{self.bucket} gave back other bytes than it got", key=key)

    async def page(self, prefix: str, after: str | None = None) -> list[ObjectInfo]:
        """Up to 1,000 objects below a prefix whose keys come after this one, in order."""
        import obstore

        with translated(self.bucket, prefix):
            listing = obstore.list(self._store, prefix, offset=after, chunk_size=PAGE)
            found: Sequence[ObjectMeta] = await anext(aiter(listing), [])
        return [ObjectInfo(each["path"], each["size"], each["last_modified"]) for each in found]

    async def abort_uploads(self, prefix: str, before: datetime) -> int:
        """Give up the multipart uploads below a prefix that began before this time: how many."""
        found = await self._ask("list_multipart_uploads", Prefix=prefix)
        count = 0
        for upload in found.get("Uploads", ()):
            if upload["Initiated"] < before:
                with suppress(ObjectNotFoundError):
                    await self._ask(
                        "abort_multipart_upload", key=upload["Key"], UploadId=upload["UploadId"]
                    )
                count += 1
        return count

    async def get_link(
        self, key: str, *, name: str, content_type: str, expires_in: timedelta = LONGEST_GET_LINK
    ) -> str:
        """A link that saves the object under a name. Valid for five minutes at most."""
        values = {
            "ResponseContentDisposition": attachment(name),
            "ResponseContentType": content_type,
            "ResponseCacheControl": "private, no-store",
        }
        return await self._sign("get_object", key, values, min(expires_in, LONGEST_GET_LINK))

    async def put_link(
        self,
        key: str,
        *,
        size_bytes: int,
        sha256: bytes,
        content_type: str,
        expires_in: timedelta = LONGEST_PUT_LINK,
    ) -> PutLink:
        """A link to put exactly these bytes there, once, within ten minutes at most."""
        checksum = base64.b64encode(sha256).decode()
        values = {
            "ContentLength": size_bytes,
            "ContentType": content_type,
            "ChecksumSHA256": checksum,
            "IfNoneMatch": "*",
        }
        url = await self._sign("put_object", key, values, min(expires_in, LONGEST_PUT_LINK))
        headers = {
            "Content-Length": str(size_bytes),
            "Content-Type": content_type,
            "x-amz-checksum-sha256": checksum,
            "If-None-Match": "*",
        }
        return PutLink(url, headers)

    async def _ask(self, operation: str, *, key: str | None = None, **values: Any) -> Any:
        if key is not None:
            values["Key"] = key

        def ask() -> Any:
            client = client_of(self.bucket)
            with translated(self.bucket, key):
                return getattr(client, operation)(Bucket=self.bucket.name, **values)

        return await asyncio.to_thread(ask)

    async def _sign(
        self, operation: str, key: str, values: Mapping[str, Any], expires_in: timedelta
    ) -> str:
        def sign() -> str:
            with translated(self.bucket, key):
                url: str = client_of(self.bucket).generate_presigned_url(
                    operation,
                    Params={"Bucket": self.bucket.name, "Key": key, **values},
                    ExpiresIn=max(1, int(expires_in.total_seconds())),
                )
            return url

        # In a thread: a millisecond each, and half a second for the first.
        return await asyncio.to_thread(sign)


async def _rejoined(head: Iterable[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in head:
        yield chunk
    async for chunk in rest:
        yield chunk
