"""Who is cancelled leaves nothing behind: no connection, no backend at work, no half commit."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.layer import DataLayer
from tests.integration.unit_of_work.conftest import Outside

INSERT = text("INSERT INTO uow_notes VALUES (:note)")

Body = Callable[[], Coroutine[Any, Any, None]]
Cancel = Callable[[Body, Outside, str], Awaitable[None]]


async def cancel_by_asyncio(body: Body, outside: Outside, running: str) -> None:
    """Run the body, and cancel its task once the statement is running in the server."""
    task = asyncio.ensure_future(body())
    await outside.wait_until_running(running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_by_anyio(body: Body, outside: Outside, running: str) -> None:
    """The same by a scope, which cancels again and again until the body has ended."""
    async with anyio.create_task_group() as group:
        group.start_soon(body)
        await outside.wait_until_running(running)
        group.cancel_scope.cancel()


by_both = pytest.mark.parametrize("cancel", [cancel_by_asyncio, cancel_by_anyio])


@pytest.mark.fault(30, holds="I1 I11 I14", every_run=True)
@by_both
async def test_fault_30_cancelled_in_mid_query_rolls_back_and_leaves_nothing_running(
    layer: DataLayer, outside: Outside, cancel: Cancel
) -> None:
    """A client that went away must not keep a connection or a server process busy."""

    async def body() -> None:
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "half"})
            uow.invalidate("half")
            await uow.execute(text("SELECT pg_sleep(60)"))

    await cancel(body, outside, "pg_sleep(60)")
    await outside.assert_quiet()
    assert await outside.counts() == (0, 0, 0)


@pytest.mark.fault(30, holds="I1 I11 I14", every_run=True)
@by_both
async def test_fault_30_cancelled_during_commit_waits_for_the_outcome(
    layer: DataLayer, outside: Outside, cancel: Cancel
) -> None:
    """A COMMIT that was sent cannot be taken back: it stands, whole, and the pool is empty."""

    async def body() -> None:
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "slow"})
            uow.invalidate("slow")

    await cancel(body, outside, "COMMIT")
    assert await outside.counts() == (1, 0, 1)
    await outside.assert_quiet()


@by_both
async def test_cancelled_while_the_last_rows_are_written_rolls_back(
    layer: DataLayer, outside: Outside, cancel: Cancel
) -> None:
    """Up to the COMMIT itself a cancellation is a rollback, in the jobs' INSERT as well."""

    async def wait(session: AsyncSession) -> None:
        await session.execute(text("SELECT pg_sleep(60)"))

    async def body() -> None:
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "half"})
            uow.before_commit(wait)

    await cancel(body, outside, "pg_sleep(60)")
    await outside.assert_quiet()
    assert await outside.counts() == (0, 0, 0)


async def test_cancelled_just_before_the_commit_rolls_back(
    layer: DataLayer, outside: Outside
) -> None:
    """A cancellation that is already known when the block ends is obeyed."""

    async def body() -> None:
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "half"})
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(body())
    await outside.assert_quiet()
    assert await outside.counts() == (0, 0, 0)


async def test_a_scope_cancelled_just_before_the_commit_rolls_back(
    layer: DataLayer, outside: Outside
) -> None:
    """The same for a scope of anyio, as FastAPI and Starlette use it."""
    with anyio.CancelScope() as scope:
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "half"})
            scope.cancel()
    await outside.assert_quiet()
    assert await outside.counts() == (0, 0, 0)


@by_both
async def test_a_cancelled_reader_leaves_nothing_running(
    layer: DataLayer, outside: Outside, cancel: Cancel
) -> None:
    """A read that nobody waits for any more is ended in the server, too."""

    async def body() -> None:
        async with layer.reading() as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    await cancel(body, outside, "pg_sleep(60)")
    await outside.assert_quiet()


async def test_twenty_requests_cancelled_at_once_leave_a_pool_that_serves(
    layer: DataLayer, outside: Outside
) -> None:
    """More than the pool holds, so that some are cancelled while they wait for a connection."""

    async def body() -> None:
        async with layer.transaction() as uow:
            await uow.execute(text("SELECT pg_sleep(60)"))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(body)
        await outside.wait_until_running("pg_sleep(60)")
        group.cancel_scope.cancel()
    await outside.assert_quiet()
    async with layer.transaction() as uow:
        await uow.execute(INSERT, {"note": "after"})
    assert await outside.notes() == ["after"]
