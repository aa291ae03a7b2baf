"""The sweeper of files: what no transaction wants any more goes, row and object, in that order.

By rows, each round: uploads whose time is over, files at their end, objects whose retention is
over. By the bucket, slowly and a page at a time: objects that no row names, which are noted first
and deleted only after their quarantine, and uploads in parts that were never completed. Before
anything is deleted the bucket must say that it is this database's. Any number may run; S3 that is
down is tried again later. Called by the relay's process and by `bedplate files sweep`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import (
    ObjectDeniedError,
    ObjectNotFoundError,
    PoolExhaustedError,
    SweepRefusedError,
    UnreachableError,
)
from bedplate.failpoints import failpoint
from bedplate.files import ownership, stored_files
from bedplate.files.keys import is_key, prefixes
from bedplate.files.object_store import PAGE
from bedplate.layer import DataLayer

log = logging.getLogger("bedplate.delivery.file_sweeper")

INTERVAL = timedelta(seconds=10)
ORPHAN_INTERVAL = timedelta(minutes=1)
# As many as one request of S3 deletes.
BATCH = 1000
# A row outlives its object by this, and has it deleted once more: an upload that was swept may
# have ended after all.
MEMORY = timedelta(days=1)
# More objects without a row than this are no accident of a crash: a bucket that is shared, or a
# database that was restored from before they were stored.
HARMLESS_ORPHANS = 100
HARMLESS_SHARE = 0.1
# Deleting a batch may take S3 some seconds, and retries; its rows are not locked for ever.
LIMIT_IDLE = text("SELECT set_config('idle_in_transaction_session_timeout', '120s', true)")
# What a sweep waits out: jobs, which the same process sends, must not stop for it.
_BORNE = (
    UnreachableError,
    PoolExhaustedError,
    SweepRefusedError,
    ObjectDeniedError,
    ObjectNotFoundError,
    DBAPIError,
)

Marking = Callable[[AsyncConnection, int], Awaitable[int]]
Sweep = Callable[[], Awaitable["FilesSwept"]]


@dataclass(slots=True)
class FilesSwept:
    """How many of each: uploads given up, files that expired, objects deleted, rows forgotten,
    objects newly in quarantine, orphans deleted, uploads in parts aborted."""

    given_up: int = 0
    expired: int = 0
    deleted: int = 0
    forgotten: int = 0
    quarantined: int = 0
    orphans: int = 0
    aborted: int = 0

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


class FileSweeper:
    """Sweeps one layer's files, as its owner. The layer is opened by the caller."""

    def __init__(self, layer: DataLayer, *, batch: int = BATCH, memory: timedelta = MEMORY) -> None:
        self._settings = layer.settings
        self._owner = layer.owner_database
        self._files = layer.files
        self._bucket = layer.files.bucket.name
        self._batch = batch
        self._memory = memory
        self._after: dict[str, str | None] = {}
        self._failures: dict[str, str] = {}

    async def run(self) -> None:
        """Sweep until cancelled. Outlives a database and an S3 that go away and come back."""
        next_orphans = time.monotonic()
        while True:
            await self._attempt("rows", self.sweep)
            if time.monotonic() >= next_orphans:
                next_orphans = time.monotonic() + ORPHAN_INTERVAL.total_seconds()
                await self._attempt("bucket", self.sweep_orphans)
            await asyncio.sleep(INTERVAL.total_seconds())

    async def sweep(self) -> FilesSwept:
        """One round by rows. Raises `BucketOwnerError`, and what database and S3 raise."""
        swept = FilesSwept()
        async with self._owner.translated():
            swept.given_up = await self._mark(stored_files.sweep_pending)
            swept.expired = await self._mark(stored_files.sweep_expired)
            swept.deleted = await self._delete_due()
            swept.forgotten = await self._forget_gone()
        self._log(swept)
        return swept

    async def sweep_orphans(self, *, is_approved: bool = False) -> FilesSwept:
        """The next page of the bucket, below each of the system's prefixes.

        Raises as `sweep`, and `SweepRefusedError` when more objects have no row than an accident
        leaves; `is_approved`: a person has looked, and they may go.
        """
        swept = FilesSwept()
        async with self._owner.translated():
            for prefix in prefixes(self._files.system):
                swept.quarantined += await self._quarantine(prefix)
            swept.orphans = await self._delete_quarantined(is_approved=is_approved)
            swept.aborted = await self._abort_uploads()
        self._log(swept)
        return swept

    @property
    def is_through(self) -> bool:
        """Whether the last page of the bucket has been swept, and the next sweep begins anew."""
        return not any(self._after.values())

    async def _mark(self, step: Marking) -> int:
        count = 0
        while True:
            async with self._owner.engine.begin() as connection:
                done = await step(connection, self._batch)
            count += done
            if done < self._batch:
                return count

    async def _delete_due(self) -> int:
        count = 0
        while True:
            async with self._owner.engine.begin() as connection:
                await connection.execute(LIMIT_IDLE)
                due = await stored_files.take_due(
                    connection, self._bucket, self._batch, self._settings.file_retention
                )
                await self._delete(connection, [each.key for each in due])
                failpoint("sweeper.after_delete")
                await stored_files.mark_gone(connection, [each.id for each in due])
            count += len(due)
            if len(due) < self._batch:
                return count

    async def _forget_gone(self) -> int:
        async with self._owner.engine.begin() as connection:
            await connection.execute(LIMIT_IDLE)
            gone = await stored_files.take_gone(connection, self._bucket, self._batch, self._memory)
            await self._delete(connection, [each.key for each in gone])
            await stored_files.forget(connection, [each.id for each in gone])
        return len(gone)

    async def _quarantine(self, prefix: str) -> int:
        page = await self._files.objects.page(prefix, self._after.get(prefix))
        self._after[prefix] = page[-1].key if len(page) == PAGE else None
        ours = [each for each in page if is_key(each.key)]
        if not ours:
            return 0
        async with self._owner.engine.begin() as connection:
            # Listed first, looked up second: an object's row was committed before its first byte.
            return len(await stored_files.quarantine(connection, self._bucket, ours))

    async def _delete_quarantined(self, *, is_approved: bool) -> int:
        async with self._owner.engine.begin() as connection:
            await connection.execute(LIMIT_IDLE)
            keys = await stored_files.take_quarantined(
                connection, self._bucket, self._batch, self._settings.file_quarantine
            )
            if keys and not is_approved:
                await self._refuse_many(connection)
            await self._delete(connection, keys)
            await stored_files.forget_quarantined(connection, self._bucket, keys)
        return len(keys)

    async def _refuse_many(self, connection: AsyncConnection) -> None:
        orphans, named = await stored_files.count_for_refusal(connection, self._bucket)
        if orphans > max(HARMLESS_ORPHANS, named * HARMLESS_SHARE):
            raise SweepRefusedError(
                f"{orphans} objects in {self._files.bucket} have no row, and {named} files have",
                hint="Is the database restored from a backup, or the bucket shared? If they may "
                "go: bedplate files sweep --orphans --yes.",
                orphans=orphans,
            )

    async def _abort_uploads(self) -> int:
        async with self._owner.engine.begin() as connection:
            before = await stored_files.now(connection) - self._settings.file_grace
        objects = self._files.objects
        return sum(
            [await objects.abort_uploads(each, before) for each in prefixes(self._files.system)]
        )

    async def _attempt(self, name: str, sweep: Sweep) -> None:
        try:
            await sweep()
        except _BORNE as error:
            # Each once: a bucket of somebody else's stays so until a person acts.
            what = getattr(error, "code", type(error).__name__)
            if self._failures.get(name) != what:
                log.warning("Files are not swept", extra={"sweep": name, "error": str(error)})
            self._failures[name] = what
        else:
            self._failures.pop(name, None)

    def _log(self, swept: FilesSwept) -> None:
        if swept:
            log.info("Files were swept", extra={"system": self._files.system, **asdict(swept)})

    async def _delete(self, connection: AsyncConnection, keys: Sequence[str]) -> None:
        if not keys:
            return
        owner = await ownership.identify(connection, self._owner.url)
        await ownership.claim(self._files.objects, self._files.system, owner)
        await self._files.objects.delete(keys)
