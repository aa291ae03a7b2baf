"""An S3, a layer with files on it, and a look at rows and bucket from outside."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from bedplate.files.bucket import Bucket
from bedplate.files.object_store import ObjectStore
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from tests.integration.files.weed import S3, Weed

GUARD = "bedplate-owner"


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """SeaweedFS, once per process of the run."""
    weed = Weed(tmp_path_factory.mktemp("weed"))
    try:
        weed.start()
        yield weed
    finally:
        weed.stop()


@pytest.fixture(scope="session")
def s3(weed: Weed) -> S3:
    """Its address, keys and bucket."""
    return weed.s3


@pytest.fixture
def system(request: pytest.FixtureRequest) -> str:
    """A system's name of the test's own: below it the bucket is empty."""
    import secrets

    return f"files-{secrets.token_hex(4)}"


@pytest.fixture
async def files_layer(
    committed: ScratchDatabase, weed: Weed, system: str
) -> AsyncIterator[DataLayer]:
    """An open layer whose files are on the tests' S3, as an identity that may do no more."""
    settings = committed.settings(**weed.s3_of(system).variables())
    async with DataLayer(settings, name=system) as layer:
        yield layer


@dataclass(frozen=True)
class Outside:
    """Rows as the owner sees them, objects as the bucket lists them."""

    layer: DataLayer
    store: ObjectStore

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """What a query of this test returns, a value or a row each."""
        async with self.layer.owner_database.engine.begin() as connection:
            result = await connection.execute(text(query), values)
            found = result.all() if result.returns_rows else []
        return [row[0] if len(row) == 1 else tuple(row) for row in found]

    async def states(self) -> list[str]:
        """The states of all files, oldest first."""
        return await self.rows("SELECT state FROM bedplate.stored_files ORDER BY id")

    async def keys(self) -> set[str]:
        """The keys of the system's objects, the guard left out."""
        system = self.layer.files.system
        found = [
            each.key
            for prefix in (f"{system}/", f"expiring/{system}/")
            for each in await self.store.page(prefix)
        ]
        return {key for key in found if not key.endswith(GUARD)}

    async def named_keys(self) -> set[str]:
        """The keys that committed files name."""
        return set(
            await self.rows("SELECT key FROM bedplate.stored_files WHERE state = 'committed'")
        )

    async def age(self, column: str, seconds: float) -> None:
        """Move a time of all files into the past: the clock is moved, not the limit."""
        assert column in {"pending_until", "deleted_at", "expires_at", "gone_at"}
        await self.rows(
            f"UPDATE bedplate.stored_files SET {column} = {column} - make_interval(secs => :s)",
            s=seconds,
        )


@pytest.fixture
def outside(files_layer: DataLayer, s3: S3) -> Outside:
    """Rows and bucket, looked at from outside."""
    return Outside(files_layer, ObjectStore(Bucket.from_settings(files_layer.settings)))
