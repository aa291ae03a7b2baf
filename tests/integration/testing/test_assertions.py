"""Assertions look at what is there, before the commit and after it, and say what they found."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from bedplate.errors import ArgumentsError
from bedplate.files.file_store import NewFile
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.testing import (
    assert_enqueued,
    assert_invalidated,
    assert_not_enqueued,
    assert_not_stored,
    assert_stored,
    drain,
    enqueued,
    invalidated,
)


@task(name="shop.ship")
async def ship(job: JobRun, order: str, parcels: int = 1) -> None:
    """Ship an order."""


@task(name="shop.bill")
async def bill(job: JobRun, order: str) -> None:
    """Bill an order."""


async def test_a_job_is_seen_before_the_commit_and_after_it(layer: DataLayer) -> None:
    """The same assertion for both, so that a test may say which of the two it means."""
    async with layer.transaction() as uow:
        job_id = uow.enqueue(ship, "tea", parcels=2)
        assert (await assert_enqueued(uow, ship, "tea", 2)).state is None
        await assert_not_enqueued(layer, ship)
    found = await assert_enqueued(layer, ship, "tea", parcels=2)
    assert (found.id, found.state) == (job_id, "ready")


async def test_a_job_that_was_rolled_back_is_not_enqueued(layer: DataLayer) -> None:
    """What the unit of work promised, the ledger must not have."""
    async with layer.transaction() as uow:
        uow.enqueue(ship, "tea")
        uow.mark_rollback("no tea is left")
    await assert_not_enqueued(layer)


async def test_a_job_that_has_ended_was_enqueued(layer: DataLayer) -> None:
    """After `drain` a test may still ask what there was."""
    async with layer.transaction() as uow:
        uow.enqueue(ship, "tea")
    await drain(layer, [ship])
    assert (await assert_enqueued(layer, ship, "tea")).state == "succeeded"


async def test_a_failure_lists_what_was_enqueued_instead(layer: DataLayer) -> None:
    """The usual mistake is another argument, which the message shows beside the wanted one."""
    async with layer.transaction() as uow:
        uow.enqueue(ship, "coffee")
        uow.enqueue(bill.with_options(dedup_key="coffee"), "coffee")
        for where in (uow, layer):
            with pytest.raises(AssertionError) as failed:
                await assert_enqueued(where, ship, "tea")
            assert "shop.ship(order='tea', parcels=1)" in str(failed.value)
            listed = "shop.bill(order='coffee') dedup_key=coffee" in str(failed.value)
            assert listed is (where is uow)
    with pytest.raises(AssertionError, match=r"shop\.ship was enqueued\n.*\n.*coffee"):
        await assert_not_enqueued(layer, ship)


async def test_options_are_compared_when_they_are_given(layer: DataLayer) -> None:
    """A reminder for tomorrow is no reminder for today."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with layer.transaction() as uow:
        uow.enqueue(bill.with_options(run_at=tomorrow, group_key="tea"), "tea")
    await assert_enqueued(layer, bill, "tea")
    await assert_enqueued(layer, bill.with_options(run_at=tomorrow), "tea")
    with pytest.raises(AssertionError, match="group_key=coffee"):
        await assert_enqueued(layer, bill.with_options(group_key="coffee"), "tea")


async def test_arguments_that_do_not_fit_are_no_failed_assertion(layer: DataLayer) -> None:
    """They could never have been enqueued: the test is wrong and not the code."""
    with pytest.raises(ArgumentsError, match="parcels"):
        await assert_enqueued(layer, ship, "tea", parcels="two")  # type: ignore[arg-type]  # on purpose
    assert await enqueued(layer) == []


async def test_invalidations_are_seen_until_the_cache_was_told(layer: DataLayer) -> None:
    """The outbox keeps an intention, and no history."""
    async with layer.transaction() as uow:
        uow.invalidate("order:1", "order:2")
        await assert_invalidated(uow, "order:2", "order:1")
    await assert_invalidated(layer, "order:1")
    with pytest.raises(AssertionError, match=r"not invalidated: \['order:3'\]\n.*\n  order:1"):
        await assert_invalidated(layer, "order:3")
    assert (await drain(layer, [])).messages == 2
    assert await invalidated(layer) == []


async def test_a_stored_file_is_compared_with_its_object(
    layer: DataLayer, bedplate_s3: dict[str, str]
) -> None:
    """A row alone is no file."""
    settings = layer.settings.load(variables={**bedplate_s3, **_variables_of(layer)})
    async with DataLayer(settings, name="librilabs") as with_files:
        async with with_files.transaction() as uow:
            stored = await uow.store_file(b"one cup", NewFile("tea.txt", "text/plain"))
            await assert_stored(uow, "tea.txt")
            await assert_not_stored(with_files, "tea.txt")
        found = await assert_stored(with_files, stored.id, content=b"one cup")
        assert found.size_bytes == len(b"one cup")
        with pytest.raises(AssertionError, match="other bytes"):
            await assert_stored(with_files, "tea.txt", content=b"two cups")
        with pytest.raises(AssertionError, match=r"not stored: .*\n.*\n.*tea\.txt committed"):
            await assert_stored(with_files, uuid4())
        async with with_files.transaction() as uow:
            await uow.delete_file(stored.id)
        await assert_not_stored(with_files, "tea.txt")


def _variables_of(layer: DataLayer) -> dict[str, str]:
    settings = layer.settings
    return {
        "BEDPLATE_ENV": "test",
        "DATABASE_URL": settings.direct_database().render(),
        "REDIS_URL": settings.redis(),
        "BEDPLATE_APP_ROLE": settings.serving_role(),
    }
