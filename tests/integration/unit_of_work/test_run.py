"""A function that is one transaction is done again as a whole, or not at all."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bedplate.errors import CommitUnknownError, DatabaseUnreachableError, TransactionError
from bedplate.layer import DataLayer
from bedplate.retries import Retries
from bedplate.rows.tenancy import Terms
from bedplate.unit_of_work import UnitOfWork
from tests.integration.unit_of_work.conftest import Outside
from tests.integration.unit_of_work.test_commit import remember

INSERT = text("INSERT INTO uow_notes VALUES (:note)")
SERIALIZABLE = Retries(terms=Terms(isolation="serializable"))
LOCK = text("SELECT pg_advisory_xact_lock(:key)")


@pytest.mark.fault(29, holds="I1", every_run=True)
async def test_fault_29_a_serialization_failure_is_done_again_whole(
    layer: DataLayer, outside: Outside
) -> None:
    """Both read what the other writes: one of them must begin anew, with its job once."""
    both_have_read = asyncio.Barrier(2)
    tries = 0

    async def count_and_insert(uow: UnitOfWork, note: str) -> int:
        nonlocal tries
        tries += 1
        counted = (await uow.scalars(text("SELECT count(*) FROM uow_notes"))).one()
        if tries <= 2:
            await both_have_read.wait()
        await uow.execute(INSERT, {"note": note})
        uow.enqueue(remember, note)
        return int(counted)

    counts = await asyncio.gather(
        layer.run_with(SERIALIZABLE, count_and_insert, "a"),
        layer.run_with(SERIALIZABLE, count_and_insert, "b"),
    )
    assert sorted(counts) == [0, 1]
    assert tries == 3
    assert await outside.counts() == (2, 2, 0)


@pytest.mark.fault(29, holds="I1", every_run=True)
async def test_fault_29_a_deadlock_is_done_again_whole(layer: DataLayer, outside: Outside) -> None:
    """The server ends one of the two; its function runs again from its first line."""
    both_have_one = asyncio.Barrier(2)
    tries = 0

    async def take(uow: UnitOfWork, first: int, second: int) -> None:
        nonlocal tries
        tries += 1
        await uow.execute(LOCK, {"key": first})
        if tries <= 2:
            await both_have_one.wait()
        await uow.execute(LOCK, {"key": second})
        uow.enqueue(remember, str(first))

    await asyncio.gather(layer.run(take, 1, 2), layer.run(take, 2, 1))
    assert tries == 3
    assert await outside.counts() == (0, 2, 0)


@pytest.mark.fault(29, holds="I1", every_run=True)
async def test_fault_29_a_lock_that_is_not_had_in_time_is_waited_for_anew(
    layer: DataLayer, outside: Outside
) -> None:
    """Somebody holds it for a moment only: the function runs again, with its job once."""
    is_held, tries = asyncio.Event(), 0
    is_over = asyncio.Event()

    async def hold() -> None:
        async with layer.transaction() as uow:
            await uow.execute(LOCK, {"key": 3})
            is_held.set()
            await is_over.wait()

    async def take(uow: UnitOfWork) -> str:
        nonlocal tries
        tries += 1
        if tries == 2:
            is_over.set()
            await holding
        uow.enqueue(remember, "had")
        await uow.execute(text("SET LOCAL lock_timeout = '20ms'"))
        await uow.execute(LOCK, {"key": 3})
        return "had"

    holding = asyncio.create_task(hold())
    await is_held.wait()
    assert await layer.run(take) == "had"
    assert tries == 2
    assert await outside.counts() == (0, 1, 0)


async def test_a_lost_connection_is_tried_again(layer: DataLayer, outside: Outside) -> None:
    """Whatever the broken one had done is rolled back."""
    tries = 0

    async def insert(uow: UnitOfWork) -> None:
        nonlocal tries
        tries += 1
        await uow.execute(INSERT, {"note": "once"})
        if tries == 1:
            pid = (await uow.scalars(text("SELECT pg_backend_pid()"))).one()
            await outside.rows(f"SELECT pg_terminate_backend({pid:d}, 5000)")

    await layer.run(insert)
    assert tries == 2
    assert await outside.notes() == ["once"]


@pytest.mark.parametrize("error", [ValueError("no"), CommitUnknownError("who knows")])
async def test_nothing_else_is_tried_again(layer: DataLayer, error: Exception) -> None:
    """An error of the function's own will come again; an unknown commit may have been done."""
    tries = 0

    async def fail(_uow: UnitOfWork) -> None:
        nonlocal tries
        tries += 1
        raise error

    with pytest.raises(type(error)):
        await layer.run(fail)
    assert tries == 1


async def test_the_tries_are_bounded(layer: DataLayer) -> None:
    """In number, and in time."""
    tries = 0

    async def fail(_uow: UnitOfWork) -> None:
        nonlocal tries
        tries += 1
        raise DatabaseUnreachableError("gone")

    pause = timedelta(milliseconds=1)
    with pytest.raises(DatabaseUnreachableError):
        await layer.run_with(Retries(attempts=3, first_pause=pause), fail)
    assert tries == 3
    with pytest.raises(DatabaseUnreachableError):
        await layer.run_with(Retries(within=timedelta(0)), fail)
    assert tries == 4


async def test_inside_a_transaction_nothing_is_tried_again(
    layer: DataLayer, outside: Outside
) -> None:
    """Only the outer one could be done again, and it belongs to somebody else."""
    tries = 0

    async def fail(uow: UnitOfWork) -> None:
        nonlocal tries
        tries += 1
        await uow.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))

    with pytest.raises(DBAPIError):
        async with layer.transaction():
            await layer.run(fail)
    assert tries == 1


async def test_a_level_holds_for_its_transaction_alone(layer: DataLayer, outside: Outside) -> None:
    """The next user of the connection has the server's own again."""
    level = text("SELECT current_setting('transaction_isolation')")
    async with layer.transaction(isolation="serializable") as uow:
        assert (await uow.scalars(level)).one() == "serializable"
    async with layer.transaction() as uow:
        assert (await uow.scalars(level)).one() == "read committed"
        with pytest.raises(TransactionError, match="serializable"):
            async with layer.transaction(isolation="serializable"):
                pass
        uow.mark_rollback("the block was refused")
