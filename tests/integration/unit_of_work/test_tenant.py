"""A transaction's tenant: set for it alone, carried by what it makes."""

import pytest
from sqlalchemy import text

from bedplate.errors import TransactionError
from bedplate.jobs import ledger
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.testing.draining import drain
from bedplate.unit_of_work import UnitOfWork
from tests.integration.unit_of_work.conftest import Outside
from tests.integration.unit_of_work.test_commit import remember

WHO = text(
    "SELECT coalesce(current_setting('bedplate.tenant', true), '') || '/'"
    " || coalesce(current_setting('bedplate.actor', true), '')"
)


async def test_the_tenant_is_gone_with_its_transaction(layer: DataLayer, outside: Outside) -> None:
    """On a pooled connection a setting of the session would be the next request's tenant."""
    async with layer.transaction(tenant="acme", actor="ann") as uow:
        assert (uow.tenant, uow.actor) == ("acme", "ann")
        assert (await uow.scalars(WHO)).one() == "acme/ann"
        async with uow.savepoint():
            assert (await uow.scalars(WHO)).one() == "acme/ann"
    async with layer.transaction() as uow:
        assert uow.tenant is None
        assert (await uow.scalars(WHO)).one() == "/"
    async with layer.reading(tenant="acme") as session:
        assert await session.scalar(WHO) == "acme/"
    async with layer.reading() as session:
        assert await session.scalar(WHO) == "/"


async def test_a_job_belongs_to_the_tenant_that_enqueued_it(layer: DataLayer) -> None:
    """Its task runs as that tenant, too."""
    async with layer.transaction(tenant="acme", actor="ann") as uow:
        job_id = uow.enqueue(remember, "x")
    async with layer.owner_database.engine.connect() as owner:
        job = await ledger.load(owner, job_id)
    assert (job.tenant, job.actor) == ("acme", "ann")


async def test_a_plain_block_inside_a_task_is_the_jobs_tenants(layer: DataLayer) -> None:
    """Code that a task calls need not know that it is called by one; afterwards nobody's again."""
    seen: list[str] = []

    @task(name="tenant.look")
    async def look(job: JobRun) -> None:
        async with job.layer.transaction() as uow:
            seen.append((await uow.scalars(WHO)).one())
        async with job.layer.reading() as session:
            seen.append(str(await session.scalar(WHO)))
        await job.layer.run(note)
        async with job.layer.transaction(tenant="bob") as uow:
            seen.append((await uow.scalars(WHO)).one())

    async def note(uow: UnitOfWork) -> None:
        seen.append((await uow.scalars(WHO)).one())

    async with layer.transaction(tenant="acme", actor="ann") as uow:
        uow.enqueue(look)
    await drain(layer, [look])
    assert seen == ["acme/ann"] * 3 + ["bob/"]
    async with layer.transaction() as uow:
        assert (await uow.scalars(WHO)).one() == "/"


async def test_another_tenants_block_cannot_join(layer: DataLayer, outside: Outside) -> None:
    """It would write as the outer one's."""
    with pytest.raises(TransactionError, match="bob"):
        async with layer.transaction(tenant="acme"), layer.transaction(tenant="bob"):
            pass
    async with layer.transaction(tenant="acme") as outer, layer.transaction() as inner:
        assert inner is outer
