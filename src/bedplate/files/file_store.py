"""Files of one layer: bytes to the bucket and back, each under a row that was committed before.

An object is named by a pending row before its first byte is sent, so that whatever dies on the way
leaves nothing that nobody knows: the sweeper removes both. The row becomes *committed* in the
business transaction (`unit_of_work.py`), after the bytes are there. Made by `layer.files`.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import (
    BedplateError,
    FileMismatchError,
    NotFoundError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
    SettingsError,
)
from bedplate.failpoints import failpoint
from bedplate.files import keys, stored_files
from bedplate.files.bucket import Bucket
from bedplate.files.object_store import (
    LONGEST_GET_LINK,
    LONGEST_PUT_LINK,
    ONE_PUT_BYTES,
    ObjectStore,
    PutLink,
)
from bedplate.files.source import Measured, Source
from bedplate.files.stored_files import Connection, PendingFile, StoredFile
from bedplate.guard import outside_transaction
from bedplate.rows.database import Database
from bedplate.rows.ids import new_id
from bedplate.rows.tenancy import SET_TENANT

if TYPE_CHECKING:
    from bedplate.settings import Settings

log = logging.getLogger("bedplate.files")

# Pending rows go over connections of their own. Over the serving pool's, as many uploads as it has
# connections, each inside its transaction, would wait for one another until they time out.
PENDING_POOL_SIZE = 2


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is said of a file when it is stored. `expires_in`: row and object go together then."""

    name: str
    content_type: str = keys.ANY_TYPE
    expires_in: timedelta | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a browser puts into the bucket by itself: its id, the link, the headers."""

    file_id: UUID
    link: PutLink
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """A file whose bytes are in the bucket and whose row is still pending."""

    id: UUID
    key: str
    size_bytes: int
    sha256: bytes


def no_files() -> "FileStore":
    """What stands for the files of a unit of work that was given none."""
    raise SettingsError(
        "this unit of work has no files",
        hint="Set AWS_BUCKET_NAME, and begin it by layer.transaction().",
        variable="AWS_BUCKET_NAME",
    )


class FileStore:
    """Stores and reads the files of one system. Opens nothing before it is used."""

    def __init__(self, settings: "Settings", system: str) -> None:
        self.bucket = Bucket.from_settings(settings)
        self.system = keys.prefix_for(system)
        self._settings = settings

    @cached_property
    def objects(self) -> ObjectStore:
        """The bucket."""
        return ObjectStore(self.bucket)

    @cached_property
    def _pending(self) -> Database:
        settings = self._settings
        return Database(
            settings.database(),
            role=settings.serving_role(),
            pool_size=PENDING_POOL_SIZE,
            max_overflow=0,
            pool_timeout=settings.pool_timeout,
            pool_recycle=settings.pool_recycle,
            connect_timeout=settings.connect_timeout,
            is_behind_pooler=settings.is_behind_pooler,
            application_name=f"{self.system} files",
        )

    async def close(self) -> None:
        """Close what was opened."""
        pending: Database | None = self.__dict__.pop("_pending", None)
        if pending is not None:
            await pending.close()

    async def send(self, source: Source, file: NewFile, *, limit_bytes: int | None = None) -> Sent:
        """Bring the bytes into the bucket, under a pending row of their own commit.

        Raises `FileTooLargeError`, `StorageUnreachableError`, `ObjectDeniedError`.
        """
        pending = self._pending_file(file)
        async with self._committing(file.tenant) as connection:
            await stored_files.insert_pending(connection, pending, self._settings.file_grace)
        failpoint("files.after_pending")
        measured = Measured(source, limit_bytes=limit_bytes)
        try:
            with outside_transaction("the pending row names the object, whatever becomes of it"):
                await self._put(pending, measured)
        except Exception:
            await self.abandon(pending.id, tenant=file.tenant)
            raise
        failpoint("files.after_put")
        return Sent(pending.id, pending.key, measured.size_bytes, measured.sha256)

    async def abandon(self, file_id: UUID, *, tenant: str | None = None) -> None:
        """Let the sweeper take an upload that failed at once. Never raises: it does so anyway."""
        try:
            async with self._committing(tenant) as connection:
                await stored_files.abandon(connection, file_id)
        except BedplateError:
            log.warning("A failed upload waits for its grace period", exc_info=True)

    async def begin_upload(self, file: NewFile, *, size_bytes: int, sha256: bytes) -> Upload:
        """Let a browser put exactly these bytes into the bucket by itself, within ten minutes.

        Afterwards `uow.complete_upload(file_id)`. Raises `StorageUnreachableError`.
        """
        pending = self._pending_file(file, size_bytes=size_bytes, sha256=sha256)
        link = await self.objects.put_link(
            pending.key,
            size_bytes=size_bytes,
            sha256=sha256,
            content_type=pending.content_type,
        )
        async with self._committing(file.tenant) as connection:
            # S3 looks at the link's end when a request begins: the bytes may come after it.
            grace = LONGEST_PUT_LINK + self._settings.file_grace
            await stored_files.insert_pending(connection, pending, grace)
        return Upload(pending.id, link, datetime.now(UTC) + LONGEST_PUT_LINK)

    async def inspect_upload(self, connection: Connection, file_id: UUID) -> Sent:
        """Compare what a browser put there with what it had declared.

        Raises `NotFoundError`, `ObjectNotFoundError` (nothing was put), `FileMismatchError`.
        """
        file = await stored_files.load(connection, file_id)
        if file.sha256 is None:
            raise NotFoundError(f"no upload {file_id} was begun for a browser", file_id=file_id)
        async with self._telling_missing(file.key):
            found = await self.objects.head(file.key)
        stored_files.check_declared(file, found.size_bytes, found.sha256)
        # An S3 that keeps no checksums has checked the declared one when the bytes came.
        return Sent(file.id, file.key, found.size_bytes, found.sha256 or file.sha256)

    async def link(self, file: StoredFile, *, expires_in: timedelta = LONGEST_GET_LINK) -> str:
        """A link that downloads a file under its name, for five minutes at most.

        Whoever has it may read the file until then: check the reader's right to the row first.
        """
        return await self.objects.get_link(
            file.key, name=file.file_name, content_type=file.content_type, expires_in=expires_in
        )

    async def stream(self, file: StoredFile) -> AsyncIterator[bytes]:
        """A file's bytes, compared with its row at the end: raises `FileMismatchError` then.

        The last piece is held back until the comparison, so that a wrong file is never whole.
        """
        measured = Measured(self._stream(file.key))
        last = b""
        async for piece in measured:
            if last:
                yield last
            last = piece
        stored_files.check_declared(file, measured.size_bytes, measured.sha256)
        if last:
            yield last

    async def read(self, file: StoredFile) -> bytes:
        """A whole file, for small ones. Raises `FileMismatchError`."""
        return b"".join([piece async for piece in self.stream(file)])

    async def verify(self, file: StoredFile) -> None:
        """Read the whole object and compare. Raises `FileMismatchError`, `ObjectNotFoundError`."""
        async for _ in self.stream(file):
            pass

    def _pending_file(
        self, file: NewFile, *, size_bytes: int | None = None, sha256: bytes | None = None
    ) -> PendingFile:
        is_expiring = file.expires_in is not None
        return PendingFile(
            id=new_id(),
            bucket=self.bucket.name,
            key=keys.new_key(self.system, datetime.now(UTC), is_expiring=is_expiring),
            content_type=keys.safe_type(file.content_type),
            file_name=keys.safe_name(file.name),
            size_bytes=size_bytes,
            sha256=sha256,
            expires_in=file.expires_in,
            tenant=file.tenant,
        )

    async def _put(self, file: PendingFile, measured: Measured) -> None:
        try:
            await self.objects.put_stream(file.key, aiter(measured), file.content_type)
        except ObjectExistsError:
            # The answer to the first try was lost, and the client tried again: nobody else knows
            # this key. S3 has checked the bytes against their SHA-256.
            await self._check_size(file, measured)
            return
        if measured.size_bytes > ONE_PUT_BYTES:
            await self._check_size(file, measured)

    async def _stream(self, key: str) -> AsyncIterator[bytes]:
        async with self._telling_missing(key):
            async for piece in self.objects.stream(key):
                yield piece

    @asynccontextmanager
    async def _telling_missing(self, key: str) -> AsyncIterator[None]:
        """Tell a key that is missing from one that is denied, where a row of ours names it.

        To who may not list, AWS answers 403 for both. Who may put, get and delete the key beside
        it is not denied.
        """
        try:
            yield
        except ObjectDeniedError as error:
            await self.objects.probe(self.system)
            raise ObjectNotFoundError(
                f"there is no object {key!r} in {self.bucket}", key=key
            ) from error

    async def _check_size(self, file: PendingFile, measured: Measured) -> None:
        found = await self.objects.head(file.key)
        if found.size_bytes != measured.size_bytes:
            raise FileMismatchError(
                f"the object of file {file.id} has {found.size_bytes} bytes "
                f"instead of {measured.size_bytes}",
                key=file.key,
            )

    @asynccontextmanager
    async def _committing(self, tenant: str | None) -> AsyncIterator[AsyncConnection]:
        database = self._pending
        with database.translating():
            async with database.engine.begin() as connection:
                if tenant is not None:
                    await connection.execute(SET_TENANT, {"tenant": tenant, "actor": None})
                yield connection
