"""The layer's own tables under row-level security: what the application forgets, they refuse."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bedplate.errors import NotFoundError
from bedplate.files import stored_files
from bedplate.files.file_store import NewFile
from bedplate.jobs import ledger
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.testing.clones import ScratchDatabase

COUNTS = text(
    "SELECT (SELECT count(*) FROM bedplate.jobs), (SELECT count(*) FROM bedplate.inbox),"
    " (SELECT count(*) FROM bedplate.outbox)"
)


@task(name="policies.work")
async def work(job: JobRun) -> None:
    """A task that is never run here."""


async def test_a_tenant_sees_and_changes_its_own_rows_only(layer: DataLayer) -> None:
    """I10, with a query that names no tenant at all."""
    async with layer.transaction(tenant="acme") as uow:
        job_id = uow.enqueue(work)
        uow.invalidate("key")
        assert await uow.first_time("payments", "evt_1")
    for tenant, expected in (("acme", (1, 1, 0)), ("bob", (0, 0, 0)), (None, (0, 0, 0))):
        async with layer.reading(tenant=tenant) as session:
            assert tuple((await session.execute(COUNTS)).one()) == expected
    async with layer.transaction(tenant="bob") as uow:
        assert await ledger.cancel(uow.session, [job_id]) == frozenset()
    async with layer.owner_database.engine.connect() as owner:
        assert (await ledger.load(owner, job_id)).state == "ready"
        assert tuple((await owner.execute(COUNTS)).one()) == (1, 1, 1)


async def test_a_row_of_another_tenant_cannot_be_written(layer: DataLayer) -> None:
    """Whatever the code says: the CHECK of the policy is the database's."""
    forged = text("INSERT INTO bedplate.jobs (task, queue, tenant) VALUES ('x', 'x', 'bob')")
    with pytest.raises(DBAPIError, match="row-level security"):
        async with layer.transaction(tenant="acme") as uow:
            await uow.execute(forged)


async def test_a_file_belongs_to_its_transactions_tenant(
    committed: ScratchDatabase, librilabs_settings: Settings, bedplate_s3: dict[str, str]
) -> None:
    """Its pending row, on a connection of its own, as well."""
    settings = committed.settings(**bedplate_s3)
    async with DataLayer(settings, name="librilabs") as layer:
        async with layer.transaction(tenant="acme") as uow:
            file = await uow.store_file(b"bytes", NewFile("a.txt"))
        async with layer.reading(tenant="acme") as session:
            assert (await stored_files.load(session, file.id)).tenant == "acme"
        async with layer.reading(tenant="bob") as session:
            with pytest.raises(NotFoundError):
                await stored_files.load(session, file.id)
        async with layer.transaction(tenant="bob") as uow:
            with pytest.raises(NotFoundError):
                await uow.delete_file(file.id)
            uow.mark_rollback("it was refused")
