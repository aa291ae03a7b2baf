"""A sweep of files that a person asked for: at once, through the whole bucket, or only counted.

What the relay's process does by itself, with what it leaves to a person: to let many objects
without a row go, and to make this database the one that may delete. Called by `files sweep`.
"""

from collections.abc import Callable
from dataclasses import asdict, fields

from bedplate.delivery.file_sweeper import BATCH, MEMORY, FilesSwept, FileSweeper
from bedplate.errors import BucketOwnerError, SweepRefusedError
from bedplate.files import listing, ownership
from bedplate.files.keys import is_key, prefixes
from bedplate.files.object_store import PAGE
from bedplate.layer import DataLayer

# Is told what a refusal says, and raises or answers whether a person agrees.
Ask = Callable[[str], bool]


async def sweep_rows(layer: DataLayer) -> FilesSwept:
    """What rows say is to go. Raises `BucketOwnerError`, and what database and S3 raise."""
    return await FileSweeper(layer).sweep()


async def sweep_bucket(layer: DataLayer, ask: Ask) -> FilesSwept:
    """Every page of the bucket: objects without a row into quarantine, and out of it for good.

    Raises as `sweep_rows`, and `SweepRefusedError` unless `ask` agrees to let so many go.
    """
    sweeper = FileSweeper(layer)
    swept, is_approved = FilesSwept(), False
    while True:
        try:
            step = await sweeper.sweep_orphans(is_approved=is_approved)
        except SweepRefusedError as error:
            if isinstance(error, BucketOwnerError) or not ask(error.message):
                raise
            is_approved = True
            continue
        swept = together(swept, step)
        if sweeper.is_through and step.orphans < BATCH:
            return swept


async def adopt(layer: DataLayer, ask: Ask) -> bool:
    """Make this database the one that may delete in the bucket; whether another one was.

    Raises `BucketOwnerError` unless `ask` agrees.
    """
    database, files = layer.owner_database, layer.files
    async with database.translated(), database.engine.connect() as connection:
        owner = await ownership.identify(connection, database.url)
    try:
        await ownership.claim(files.objects, files.system, owner)
    except BucketOwnerError as error:
        if not ask(error.message):
            raise
        await ownership.adopt(files.objects, files.system, owner)
        return True
    return False


async def count(layer: DataLayer, *, has_orphans: bool) -> FilesSwept:
    """What a sweep would take, without taking it. Uploads in parts are not counted."""
    settings, files = layer.settings, layer.files
    bucket, database = files.bucket.name, layer.owner_database
    async with database.translated(), database.engine.connect() as connection:
        due = await listing.count_due(
            connection, bucket, retention=settings.file_retention, memory=MEMORY
        )
        found = FilesSwept(**due)
        if has_orphans:
            found.orphans = await listing.count_quarantined(
                connection, bucket, settings.file_quarantine
            )
    if has_orphans:
        for prefix in prefixes(files.system):
            found.quarantined += await _count_unnamed(layer, prefix)
    return found


async def _count_unnamed(layer: DataLayer, prefix: str) -> int:
    total, after = 0, None
    while True:
        objects = await layer.files.objects.page(prefix, after)
        keys = [each.key for each in objects if is_key(each.key)]
        database = layer.owner_database
        async with database.translated(), database.engine.connect() as connection:
            total += await listing.count_unnamed(connection, layer.files.bucket.name, keys)
        if len(objects) < PAGE:
            return total
        after = objects[-1].key


def together(one: FilesSwept, other: FilesSwept) -> FilesSwept:
    """The sums of two sweeps."""
    first, second = asdict(one), asdict(other)
    return FilesSwept(**{each.name: first[each.name] + second[each.name] for each in fields(one)})
