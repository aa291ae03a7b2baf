"""Files: I7 each committed one has its bytes, I8 the bucket holds nothing that nobody wants."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from bedplate.consistency.finding import Checked, Finding, Rule, Subject, apply_rules
from bedplate.errors import FileMismatchError, NotFoundError, ObjectNotFoundError
from bedplate.files import listing, stored_files
from bedplate.files.keys import is_key, prefixes
from bedplate.files.object_store import PAGE, ObjectInfo
from bedplate.files.stored_files import FileState, StoredFile

AT_ONCE = 16
ROWS_AT_ONCE = 200

LATE_UPLOADS = text("""
SELECT 'file ' || id AS subject,
       format('its upload was to end by %s, and no sweeper has taken it', pending_until) AS why
  FROM bedplate.stored_files
 WHERE state = 'pending'
   AND pending_until < now() - CAST(:patience AS interval)
 ORDER BY pending_until
 LIMIT :limit
""")
EXPIRED = text("""
SELECT 'file ' || id AS subject,
       format('it expired at %s, and its object is still there', expires_at) AS why
  FROM bedplate.stored_files
 WHERE state = 'committed'
   AND expires_at < now() - CAST(:patience AS interval)
 ORDER BY expires_at
 LIMIT :limit
""")
KEPT_TOO_LONG = text("""
SELECT 'file ' || id AS subject,
       format('it was deleted at %s, and its object outlives the retention', deleted_at) AS why
  FROM bedplate.stored_files
 WHERE state = 'deleted'
   AND (deleted_at < now() - CAST(:patience AS interval) - CAST(:retention AS interval)
        OR (committed_at IS NULL AND deleted_at < now() - CAST(:patience AS interval)))
 ORDER BY deleted_at
 LIMIT :limit
""")
# Of the keys that a listing showed: those of no row, and those whose row says the object is gone.
STRANGERS = text("""
SELECT found.key, file.state
  FROM unnest(CAST(:keys AS text[])) AS found (key)
  LEFT JOIN bedplate.stored_files AS file ON file.bucket = :bucket AND file.key = found.key
 WHERE file.id IS NULL OR file.state = 'gone'
""")

SWEEP = "Is a relay running? It sweeps; or: bedplate files sweep."
RESTORE = "Restore the object from a backup under its key, or delete the file."
UNNAMED = (
    "bedplate files sweep --orphans takes it after its quarantine; if its rows were lost, "
    "restore them first."
)


async def files_have_their_bytes(subject: Subject) -> Checked:
    """I7: an object of its size, and of its SHA-256, for every committed file that is looked at."""
    checked, below = Checked(noun="files"), None
    if not subject.layer.settings.has_files:
        return checked
    while checked.looked_at < subject.limit:
        wanted = min(ROWS_AT_ONCE, subject.limit - checked.looked_at)
        async with subject.reading() as connection:
            files = await listing.page(
                connection, state=FileState.COMMITTED, below=below, limit=wanted
            )
        checked.looked_at += len(files)
        checked.findings += await _look_at_all(subject, files)
        if len(files) < wanted:
            break
        below = files[-1].id
    return checked


async def nothing_is_left_in_the_bucket(subject: Subject) -> Checked:
    """I8: what has ended is swept in time, and each object has a row."""
    settings = subject.layer.settings
    checked = await apply_rules(
        8,
        subject,
        Rule(LATE_UPLOADS, SWEEP),
        Rule(EXPIRED, SWEEP),
        Rule(KEPT_TOO_LONG, SWEEP),
        retention=settings.file_retention,
    )
    checked.noun = "objects"
    if settings.has_files:
        for prefix in prefixes(subject.layer.files.system):
            await _look_below(subject, prefix, checked)
    return checked


async def _look_at_all(subject: Subject, files: Sequence[StoredFile]) -> list[Finding]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def look(file: StoredFile) -> Finding | None:
        async with slots:
            return await _look_at(subject, file)

    try:
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(look(file)) for file in files]
    except ExceptionGroup as errors:
        # One of them says what is wrong: S3 or the database is not there for any.
        raise errors.exceptions[0] from errors
    return [finding for each in looking if (finding := each.result()) is not None]


async def _look_at(subject: Subject, file: StoredFile) -> Finding | None:
    store = subject.layer.files
    name = f"file {file.id} ({file.key})"
    if file.bucket != store.bucket.name:
        why = f"its object is in the bucket {file.bucket!r}; AWS_BUCKET_NAME is another"
        return Finding(7, name, why, "Set AWS_BUCKET_NAME to the bucket of its files.")
    try:
        if subject.is_deep:
            await store.verify(file)
        else:
            found = await store.objects.head(file.key)
            stored_files.check_declared(file, found.size_bytes, found.sha256)
    except (FileMismatchError, ObjectNotFoundError) as error:
        if error.data.get("reason") == "no_such_bucket":
            raise
        if await _is_deleted_meanwhile(subject, file.id):
            return None
        return Finding(7, name, error.message, RESTORE)
    return None


async def _is_deleted_meanwhile(subject: Subject, file_id: UUID) -> bool:
    async with subject.reading() as connection:
        try:
            await stored_files.load_readable(connection, file_id)
        except NotFoundError:
            return True
    return False


async def _look_below(subject: Subject, prefix: str, checked: Checked) -> None:
    after: str | None = None
    while checked.looked_at < subject.limit:
        page = await subject.layer.files.objects.page(prefix, after)
        objects = [each for each in page if is_key(each.key)]
        checked.looked_at += len(objects)
        checked.findings += await _strangers(subject, objects)
        if len(page) < PAGE:
            return
        after = page[-1].key


async def _strangers(subject: Subject, objects: Sequence[ObjectInfo]) -> list[Finding]:
    if not objects:
        return []
    # Listed first, looked up second: an object's row was committed before its first byte.
    values = {"keys": [each.key for each in objects], "bucket": subject.layer.files.bucket.name}
    async with subject.reading() as connection:
        rows = (await connection.execute(STRANGERS, values)).all()
    ages = {each.key: datetime.now(UTC) - each.modified_at for each in objects}
    return [_stranger(subject, row.key, row.state, ages[row.key]) for row in rows]


def _stranger(subject: Subject, key: str, state: str | None, age: timedelta) -> Finding:
    """A warning while the sweeper has time to take it by itself."""
    if state == "gone":
        why = "its row says that it is deleted: an upload that ended after its sweep"
        return Finding(8, f"object {key}", why, SWEEP, is_warning=True)
    is_young = age < subject.layer.settings.file_quarantine + subject.patience
    return Finding(8, f"object {key}", "no row names it", UNNAMED, is_warning=is_young)
