"""Reads every committed file's object and compares it with its row. Called by `files verify`.

Changes nothing, holds no transaction while it reads, and takes what is deleted meanwhile for no
finding.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from bedplate.errors import FileMismatchError, NotFoundError, ObjectNotFoundError
from bedplate.files import listing, stored_files
from bedplate.files.stored_files import FileState, StoredFile
from bedplate.layer import DataLayer

PAGE = 100
AT_ONCE = 4


@dataclass(frozen=True)
class Finding:
    """A committed file whose object is not what the row says."""

    id: UUID
    file_name: str
    key: str
    code: str
    message: str


@dataclass
class Check:
    """What was compared so far."""

    total: int = 0
    files: int = 0
    size_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


async def verify(layer: DataLayer, on_progress: Callable[[Check], None]) -> Check:
    """Compare all. Raises what database and S3 raise, but for an object that is not there."""
    check, below = Check(), None
    database = layer.owner_database
    async with database.translated(), database.engine.connect() as connection:
        check.total = await listing.count_committed(connection)
    while True:
        async with database.translated(), database.engine.connect() as connection:
            files = await listing.page(
                connection, state=FileState.COMMITTED, below=below, limit=PAGE
            )
        await _verify_page(layer, files, check, on_progress)
        if len(files) < PAGE:
            return check
        below = files[-1].id


async def _verify_page(
    layer: DataLayer,
    files: list[StoredFile],
    check: Check,
    on_progress: Callable[[Check], None],
) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def verify_one(file: StoredFile) -> None:
        async with slots:
            finding = await _find(layer, file)
        check.files += 1
        check.size_bytes += file.size_bytes or 0
        if finding is not None:
            check.findings.append(finding)
        on_progress(check)

    try:
        async with asyncio.TaskGroup() as group:
            for file in files:
                group.create_task(verify_one(file))
    except ExceptionGroup as errors:
        # One of them says what is wrong: S3 or the database is not there for any.
        raise errors.exceptions[0] from errors


async def _find(layer: DataLayer, file: StoredFile) -> Finding | None:
    bucket = layer.files.bucket.name
    if file.bucket != bucket:
        message = f"the object is in the bucket {file.bucket!r}, and AWS_BUCKET_NAME is {bucket!r}"
        return Finding(file.id, file.file_name, file.key, "other_bucket", message)
    try:
        await layer.files.verify(file)
    except (FileMismatchError, ObjectNotFoundError) as error:
        if error.data.get("reason") == "no_such_bucket":
            raise
        if not await _is_readable(layer, file):
            return None
        return Finding(file.id, file.file_name, file.key, error.code, error.message)
    return None


async def _is_readable(layer: DataLayer, file: StoredFile) -> bool:
    database = layer.owner_database
    async with database.translated(), database.engine.connect() as connection:
        try:
            await stored_files.load_readable(connection, file.id)
        except NotFoundError:
            return False
    return True
