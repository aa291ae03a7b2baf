"""How a transaction ends, whatever happens to whoever waits for it: never halfway.

Used by `unit_of_work.py`, and by `layer.py` for what only reads and for closing.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar, cast

import anyio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState

from bedplate.errors import TransactionEndedError, TransactionError
from bedplate.guard import SESSION_HINT, Mode, report
from bedplate.rows.present_rows import RowSession

log = logging.getLogger("bedplate.unit_of_work")

T = TypeVar("T")

# ROLLBACK cannot be cancelled, so it must end by itself when the server is gone.
ROLLBACK_TIMEOUT = timedelta(seconds=5)


class UnitOfWorkSession(AsyncSession):
    """The session of a unit of work, which alone may end it. `guard`: else, while it is open."""

    guard: Mode = "off"

    async def commit(self) -> None:
        """Not by hand: a part would be committed, whatever becomes of the rest."""
        report("session.commit()", SESSION_HINT, self.guard)
        await super().commit()

    async def rollback(self) -> None:
        """Not by hand: the unit of work would go on without what came before, and commit."""
        report("session.rollback()", SESSION_HINT, self.guard)
        await super().rollback()

    async def close(self) -> None:
        """Not by hand: it rolls back."""
        report("session.close()", SESSION_HINT, self.guard)
        await super().close()


class TransactionSession(RowSession):
    """A session for one transaction: kept beyond it, it would begin others that nobody ends.

    `has_written`: something was flushed, or executed that is no SELECT.
    """

    is_ended = False
    has_written = False


@event.listens_for(TransactionSession, "after_transaction_create")
def _refuse_another(session: TransactionSession, _transaction: object) -> None:
    if session.is_ended:
        raise ended()


@event.listens_for(TransactionSession, "after_flush")
def _note_flush(session: TransactionSession, _context: object) -> None:
    session.has_written = True


@event.listens_for(TransactionSession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    if not state.is_select:
        cast("TransactionSession", state.session).has_written = True


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await work to its end, in a task of its own; a cancellation is raised after it.

    An anyio scope cancels again at each turn of the loop, hence the shield; asyncio cancels
    through it, hence the loop.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


async def discard(session: AsyncSession) -> None:
    """Roll back and give the connection back, whatever state it is in. Never raises."""
    try:
        async with asyncio.timeout(ROLLBACK_TIMEOUT.total_seconds()):
            await session.rollback()
    except Exception:
        log.warning("A rollback failed; its connection is closed", exc_info=True)
        await session.invalidate()
    finally:
        await close_session(session)


async def give_up(session: AsyncSession) -> None:
    """Close the connection, which is broken or silent, without another word to it. Never raises."""
    try:
        await session.invalidate()
    except Exception:
        log.warning("A broken connection could not be closed", exc_info=True)
    finally:
        await close_session(session)


async def close_session(session: AsyncSession) -> None:
    """Give the connection back; a session of a unit of work cannot be used again."""
    await session.close()
    if isinstance(session.sync_session, TransactionSession):
        session.sync_session.is_ended = True


def has_written(session: AsyncSession) -> bool:
    """Whether something was flushed in here, or executed that is no SELECT."""
    its = session.sync_session
    return isinstance(its, TransactionSession) and its.has_written


def ended() -> TransactionEndedError:
    """What is raised to whoever uses a unit of work after its end."""
    return TransactionEndedError(
        "the unit of work has ended",
        hint="Do it inside `async with layer.transaction()`, or in one of its own.",
    )


def shared() -> TransactionError:
    """What is raised to the second of two tasks that use a unit of work at the same time."""
    return TransactionError(
        "two tasks use one unit of work at the same time",
        hint="Await one after the other (no gather), or give each task "
        "a `layer.transaction()` of its own.",
    )


def swallowed(failure: BaseException) -> TransactionError:
    """What is raised at the end, when an inner block failed and its error was caught."""
    return TransactionError(
        f"a block that joined this transaction failed ({type(failure).__name__}), and the failure "
        "was caught: nothing is committed",
        hint="Put what may fail alone into `async with uow.savepoint()`, or let the error pass.",
    )


def foreign_file(tenant: str | None, own: str | None) -> TransactionError:
    """What is raised when a file would be another tenant's than its transaction."""
    return TransactionError(
        f"a file of tenant {tenant!r} in a transaction of {own!r}",
        hint="Begin it by layer.transaction(tenant=…); its files are that tenant's.",
    )
