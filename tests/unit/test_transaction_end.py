"""Work that must not be interrupted is not, and its caller is cancelled afterwards all the same."""

import asyncio

import anyio
import pytest

from bedplate.transaction_end import uninterrupted


async def test_the_result_is_returned() -> None:
    """Without a cancellation it is a plain await."""

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await uninterrupted(work()) == 7


async def test_its_error_is_raised() -> None:
    """A failed COMMIT is the caller's to see."""

    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await uninterrupted(work())


async def test_cancelled_by_asyncio_it_ends_first() -> None:
    """More than once, as impatient callers do."""
    started, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await may_end.wait()
        ended.set()

    caller = asyncio.create_task(uninterrupted(work()))
    await started.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_cancelled_by_a_scope_it_ends_first() -> None:
    """A scope cancels at each turn of the loop; the work must not even notice."""
    started, ended = asyncio.Event(), asyncio.Event()
    turns = 0

    async def work() -> None:
        nonlocal turns
        started.set()
        for _ in range(50):
            await asyncio.sleep(0)
            turns += 1
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(uninterrupted, work())
        await started.wait()
        group.cancel_scope.cancel()
    assert ended.is_set()
    assert turns == 50


async def test_an_error_under_a_cancellation_is_its_cause() -> None:
    """The cancellation wins, and what failed is not lost from the trace."""
    started, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await may_end.wait()
        raise ValueError("no")

    caller = asyncio.create_task(uninterrupted(work()))
    await started.wait()
    caller.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await caller
    assert isinstance(caught.value.__cause__, ValueError)
