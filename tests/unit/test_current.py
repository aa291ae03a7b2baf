"""What is known of the open unit of work, by whom."""

import asyncio
import contextvars
from typing import cast

from bedplate import current
from bedplate.unit_of_work import UnitOfWork

DATABASE = object()


def make() -> UnitOfWork:
    """A stand-in: nothing here looks into it."""
    return cast("UnitOfWork", object())


async def test_the_task_that_opened_it_owns_it() -> None:
    """Only there may a second block join."""
    uow = make()
    with current.opened(uow, DATABASE):
        assert current.owned(DATABASE) is uow
        assert current.owned(object()) is None
        assert current.surrounding() is uow
    assert current.owned(DATABASE) is None
    assert current.surrounding() is None


async def test_a_child_task_is_inside_and_owns_nothing() -> None:
    """Joining, it would use its parent's connection at the same time."""
    uow = make()

    async def child() -> tuple[object, object]:
        return current.owned(DATABASE), current.surrounding()

    with current.opened(uow, DATABASE):
        assert await asyncio.create_task(child()) == (None, uow)


async def test_a_thread_is_inside_and_owns_nothing() -> None:
    """A synchronous route's thread has the context and no task."""
    uow = make()
    with current.opened(uow, DATABASE):
        found = await asyncio.to_thread(lambda: (current.owned(DATABASE), current.surrounding()))
    assert found == (None, uow)


async def test_two_databases_are_open_at_once() -> None:
    """Two layers in one block are two transactions; each is found by its own database."""
    outer, inner, other = make(), make(), object()
    with current.opened(outer, DATABASE):
        with current.opened(inner, other):
            assert current.owned(DATABASE) is outer
            assert current.owned(other) is inner
            assert current.surrounding() is inner
        assert current.surrounding() is outer


async def test_a_task_that_outlives_the_block_is_outside() -> None:
    """Its context still has the entry, which has ended and holds nothing."""
    ended = asyncio.Event()

    async def child() -> object:
        await ended.wait()
        return current.surrounding()

    with current.opened(make(), DATABASE):
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    ended.set()
    assert await task is None


async def test_ended_in_another_context_it_is_ended_all_the_same() -> None:
    """A fixture's teardown may run in another context than its setup."""
    block = current.opened(make(), DATABASE)
    block.__enter__()
    contextvars.Context().run(block.__exit__, None, None, None)
    assert current.surrounding() is None


async def test_a_request_is_inside_nothing() -> None:
    """Called in process by a test that holds a transaction, it commits its own all the same."""
    uow = make()
    with current.opened(uow, DATABASE):
        with current.apart():
            assert current.owned(DATABASE) is None
            assert current.surrounding() is None
            with current.opened(make(), DATABASE):
                assert current.owned(DATABASE) is not uow
        assert current.owned(DATABASE) is uow
