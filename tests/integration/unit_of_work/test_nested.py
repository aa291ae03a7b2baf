"""A block inside a block of the same task is the same transaction; anyone else's is not."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from bedplate.errors import TransactionEndedError, TransactionError
from bedplate.layer import DataLayer
from tests.integration.unit_of_work.conftest import Outside

INSERT = text("INSERT INTO uow_notes VALUES (:note)")


async def note(layer: DataLayer, words: str) -> None:
    """As a function of a library does: a transaction of its own, unless there is one."""
    async with layer.transaction() as uow:
        await uow.execute(INSERT, {"note": words})


async def test_an_inner_block_joins_the_outer(layer: DataLayer, outside: Outside) -> None:
    """One COMMIT, at the end of the outer: committed alone, the inner part would be half."""
    async with layer.transaction() as outer:
        async with layer.transaction() as inner:
            assert inner is outer is layer.current
            await inner.execute(INSERT, {"note": "inner"})
            inner.invalidate("inner")
        await outer.execute(INSERT, {"note": "outer"})
        assert await outside.counts() == (0, 0, 0)
    assert layer.current is None
    assert await outside.counts() == (2, 0, 1)


async def test_a_failure_of_the_inner_block_rolls_back_all(
    layer: DataLayer, outside: Outside
) -> None:
    """It passes both ends, and neither commits."""
    with pytest.raises(RuntimeError, match="inner"):
        async with layer.transaction() as outer:
            await outer.execute(INSERT, {"note": "outer"})
            async with layer.transaction():
                raise RuntimeError("inner")
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_caught_failure_of_the_inner_block_is_no_commit(
    layer: DataLayer, outside: Outside
) -> None:
    """Its writes are in the transaction: committing them would keep what failed."""
    with pytest.raises(TransactionError, match=r"failed \(RuntimeError\)") as caught:
        async with layer.transaction() as outer:
            await outer.execute(INSERT, {"note": "outer"})
            try:
                async with layer.transaction() as inner:
                    await inner.execute(INSERT, {"note": "inner"})
                    raise RuntimeError("inner")
            except RuntimeError:
                pass
    assert "savepoint()" in caught.value.hint
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_savepoint_around_the_inner_block_lets_it_fail(
    layer: DataLayer, outside: Outside
) -> None:
    """What the hint says works."""
    async with layer.transaction() as outer:
        await outer.execute(INSERT, {"note": "outer"})
        with pytest.raises(RuntimeError, match="inner"):
            async with outer.savepoint(), layer.transaction() as inner:
                await inner.execute(INSERT, {"note": "inner"})
                raise RuntimeError("inner")
    assert await outside.notes() == ["outer"]


async def test_a_child_task_has_a_transaction_of_its_own(
    layer: DataLayer, outside: Outside
) -> None:
    """Joined, both would use one connection at the same time, and share one fate by accident."""
    with pytest.raises(RuntimeError, match="outer"):
        async with layer.transaction() as outer:
            await outer.execute(INSERT, {"note": "outer"})
            await asyncio.create_task(note(layer, "child"))
            raise RuntimeError("outer")
    assert await outside.notes() == ["child"]


async def test_two_layers_are_two_transactions(layer: DataLayer, outside: Outside) -> None:
    """Another database's transaction cannot be joined, whatever encloses it."""
    async with DataLayer(layer.settings, name="other") as other:
        with pytest.raises(RuntimeError, match="outer"):
            async with layer.transaction() as outer:
                await outer.execute(INSERT, {"note": "outer"})
                await note(other, "other")
                raise RuntimeError("outer")
    assert await outside.notes() == ["other"]


async def test_two_tasks_at_once_are_refused(layer: DataLayer, outside: Outside) -> None:
    """A connection takes one statement after the other; the driver's own words say less."""
    async with layer.transaction() as uow:
        sleep = text("SELECT pg_sleep(0.2)")
        found = await asyncio.gather(uow.execute(sleep), uow.execute(sleep), return_exceptions=True)
        errors = [each for each in found if isinstance(each, TransactionError)]
        assert len(errors) == 1
        assert "same time" in errors[0].message
        # One after the other, another task may use it: wait_for makes one on Python 3.11.
        await asyncio.create_task(_execute(uow, "child"))
    assert await outside.notes() == ["child"]


async def test_a_task_that_is_still_at_work_at_the_end_rolls_back(
    layer: DataLayer, outside: Outside
) -> None:
    """Whether its statement is in the commit would be chance."""
    with pytest.raises(TransactionError, match="same time"):
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "gone"})
            task = asyncio.create_task(uow.execute(text("SELECT pg_sleep(60)")))
            await outside.wait_until_running("pg_sleep(60)")
    await asyncio.gather(task, return_exceptions=True)
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_task_that_comes_after_the_end_is_refused(layer: DataLayer) -> None:
    """Its job or row would be lost silently."""
    async with layer.transaction() as uow:
        pass
    with pytest.raises(TransactionEndedError):
        await asyncio.create_task(_execute(uow, "late"))


async def _execute(uow: Any, words: str) -> None:
    await uow.execute(INSERT, {"note": words})
