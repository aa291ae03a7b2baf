"""Whose a bucket is: an object in it names the one database that may delete there.

A copy of a production database, started for a look, has the same rows and perhaps the same
credentials; its sweeper would delete what its own rows call due, and production's objects with
it. So the first sweeper writes who it is, once, and every other one refuses.
"""

import json
from dataclasses import asdict, dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import (
    BucketOwnerError,
    ObjectDeniedError,
    ObjectExistsError,
    ObjectNotFoundError,
)
from bedplate.files import statements
from bedplate.files.object_store import ObjectStore
from bedplate.urls import DatabaseUrl

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
GUARD = "bedplate-owner"


@dataclass(frozen=True)
class Owner:
    """A database, told from its copies: a restored dump has another server or oid, the snapshot
    of a whole server another host."""

    host: str
    server: str
    oid: int
    name: str


async def identify(connection: AsyncConnection, url: DatabaseUrl) -> Owner:
    """Who the database at the other end is."""
    row = (await connection.execute(statements.IDENTITY)).one()
    # Ports and socket folders of an embedded server change from one start to the next.
    host = "local" if url.host in LOOPBACK or url.host.startswith("/") else url.host.lower()
    return Owner(host, row.server, row.oid, row.name)


async def claim(objects: ObjectStore, system: str, owner: Owner) -> None:
    """Make sure that this database may delete the system's objects; the first to ask may.

    Raises `BucketOwnerError`, and what S3 raises.
    """
    key = guard_key(system)
    found = await _read(objects, key)
    if found is None:
        try:
            await objects.put(key, _render(owner), "application/json")
        except ObjectExistsError:
            found = await _read(objects, key, is_there=True)
        else:
            return
    if found != asdict(owner):
        raise BucketOwnerError(
            f"{objects.bucket} below {system!r} belongs to another database: "
            f"{_describe(found)}; this one is {_describe(asdict(owner))}",
            hint="If this database is its successor: bedplate files sweep --adopt. "
            "If it is a copy, give it a bucket of its own.",
            key=key,
        )


async def adopt(objects: ObjectStore, system: str, owner: Owner) -> None:
    """Make this database the owner, whoever was. A person has decided so."""
    await objects.delete([guard_key(system)])
    await claim(objects, system, owner)


def guard_key(system: str) -> str:
    """Where the guard object is; no file's key has this shape."""
    return f"{system}/{GUARD}"


async def _read(objects: ObjectStore, key: str, *, is_there: bool = False) -> object:
    try:
        return json.loads(await objects.read(key))
    except ObjectNotFoundError as error:
        if error.data.get("reason") == "no_such_bucket":
            raise
        return None
    except ObjectDeniedError:
        # To who may not list, AWS answers so for a missing key, too. Putting it will tell.
        if is_there:
            raise
        return None
    except ValueError:
        return "something that is not ours"


def _render(owner: Owner) -> bytes:
    return json.dumps(asdict(owner), indent=1).encode()


def _describe(owner: object) -> str:
    if isinstance(owner, dict):
        return f"{owner.get('name')!r} on {owner.get('host')!r}, server {owner.get('server')}"
    return str(owner)
