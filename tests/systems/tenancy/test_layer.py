"""Two organizations with the same data, and what the layer keeps for them: jobs, files, copies.

Each through the layer's public calls, by the id or the name that the other one has.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from bedplate.cache.channels import LIVE, Publication
from bedplate.cache.presence import Place, Presence, Present
from bedplate.errors import NotFoundError
from bedplate.files import stored_files
from bedplate.files.file_store import NewFile
from bedplate.jobs import ledger
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from tests.integration.cache.valkey import until

TTL = timedelta(minutes=10)
LAYER_TABLES = """
SELECT c.relname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
WHERE c.relnamespace = 'bedplate'::regnamespace AND c.relkind IN ('r', 'p')
"""


@task(name="tenancy.note")
async def note(run: JobRun, words: str) -> None:
    """Never run: only its rows are looked at."""


@pytest.fixture
def bedplate_system_name() -> str:
    """One with tenants."""
    return "live_agent"


@pytest.fixture
def bedplate_variables(bedplate_s3: dict[str, str]) -> Mapping[str, str]:
    """With files."""
    return bedplate_s3


@dataclass(frozen=True)
class Kept:
    """What one tenant has in the layer."""

    tenant: str
    job_id: UUID
    file_id: UUID


async def keep(layer: DataLayer) -> Kept:
    """The same for each: a job under a key, a file, a cached value, a text on a channel."""
    tenant = str(new_id())
    async with layer.transaction(tenant=tenant) as uow:
        job_id = uow.enqueue(
            note,
            "the same words",
        )
        file = await uow.store_file(io.BytesIO(b"the same bytes"), NewFile("a.txt", "text/plain"))
        uow.publish("room", f"for {tenant}", position=1)
        assert await uow.first_time("hook", "the same id")

    async def is_said() -> bool:
        return bool(await layer.channels.recent("room", tenant=tenant))

    await until(is_said, "it is said after the commit")
    return Kept(tenant, job_id, file.id)


async def test_a_job_of_another_tenant_is_not_there(layer: DataLayer) -> None:
    """By its id: not to be seen, cancelled or put back."""
    one, other = await keep(layer), await keep(layer)
    async with layer.transaction(tenant=one.tenant) as uow:
        assert (await ledger.load(uow.session, one.job_id)).id == one.job_id
        with pytest.raises(NotFoundError):
            await ledger.load(uow.session, other.job_id)
        assert await ledger.cancel(uow.session, [other.job_id]) == frozenset()
    async with layer.transaction(tenant=other.tenant) as uow:
        assert (await ledger.load(uow.session, other.job_id)).state is ledger.JobState.READY
        assert await ledger.cancel(uow.session, [other.job_id]) == {other.job_id}


async def test_a_file_of_another_tenant_is_not_there(layer: DataLayer) -> None:
    """By its id: not to be linked, read, completed or deleted."""
    one, other = await keep(layer), await keep(layer)
    async with layer.transaction(tenant=one.tenant) as uow:
        for load in (stored_files.load, stored_files.load_readable):
            assert (await load(uow.session, one.file_id)).id == one.file_id
            with pytest.raises(NotFoundError):
                await load(uow.session, other.file_id)
        with pytest.raises(NotFoundError):
            await uow.delete_file(other.file_id)
        with pytest.raises(NotFoundError):
            await uow.complete_upload(other.file_id)
    async with layer.reading(tenant=other.tenant) as session:
        file = await stored_files.load_readable(session, other.file_id)
    assert await layer.files.read(file) == b"the same bytes"


async def test_what_is_cached_said_and_present_is_each_tenants_own(layer: DataLayer) -> None:
    """The same key, the same channel, the same room."""
    one, other = await keep(layer), await keep(layer)
    presence = Presence(layer.redis.client(), layer.name)
    async with layer.channels.subscribe("room", tenant=one.tenant) as heard:
        assert await heard.next() == LIVE
        for each in (other, one):

            async def load(tenant: str = each.tenant) -> str:
                return tenant

            cached = layer.cache.of(each.tenant)
            assert await cached.get_or_load("same", load, ttl=TTL) == each.tenant
            await presence.enter(Place("room", each.tenant), "tab", Present(each.tenant))
            await layer.channels.publish(Publication("room", each.tenant, each.tenant))
        assert await heard.next() == one.tenant
    for each in (one, other):
        assert await layer.cache.of(each.tenant).get("same", str) == each.tenant
        assert await presence.present(Place("room", each.tenant)) == [Present(each.tenant)]
        kept = await layer.channels.recent("room", tenant=each.tenant)
        assert [found.text for found in kept] == [f"for {each.tenant}"]


async def test_every_table_of_the_layer_with_a_tenant_shows_its_own_rows_only(
    layer: DataLayer,
) -> None:
    """The tables are the catalogue's, so a new one is tried by itself."""
    one, other = await keep(layer), await keep(layer)
    async with layer.owner_database.engine.connect() as connection:
        names = list((await connection.execute(text(LAYER_TABLES))).scalars())
    assert {"jobs", "stored_files"} <= set(names)
    for name in names:
        for tenant in (one.tenant, other.tenant):
            async with layer.reading(tenant=tenant) as session:
                found = await session.execute(text(f"SELECT tenant FROM bedplate.{name}"))
                assert set(found.scalars()) <= {tenant}, name
        async with layer.reading() as session:
            found = await session.execute(text(f"SELECT tenant FROM bedplate.{name}"))
            assert not set(found.scalars()) & {one.tenant, other.tenant}, name
