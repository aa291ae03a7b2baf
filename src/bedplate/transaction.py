"""One transaction from its begin to its outcome: the only place that commits a request.

A block inside a block of the same task and database joins it. Cancelled before the COMMIT was
sent, a transaction rolls back; during it, the outcome is awaited and stands. Either way the
connection is given back first. Called by `layer.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from bedplate import current
from bedplate.commit import commit
from bedplate.errors import TransactionError
from bedplate.files.file_store import FileStore, no_files
from bedplate.guard import Mode
from bedplate.guard_watch import watch
from bedplate.rows.database import Database
from bedplate.rows.tenancy import NO_TERMS, Terms, bind, isolated, running_as
from bedplate.transaction_end import (
    ROLLBACK_TIMEOUT,
    TransactionSession,
    UnitOfWorkSession,
    discard,
    uninterrupted,
)
from bedplate.unit_of_work import UnitOfWork


@asynccontextmanager
async def transact(
    database: Database,
    after_commit: Callable[[UnitOfWork], None],
    files: Callable[[], FileStore] = no_files,
    terms: Terms = NO_TERMS,
    guard: Mode = "raise",
) -> AsyncIterator[UnitOfWork]:
    """One transaction as a context manager: commits at the end of the block, rolls back on errors.

    Inside a block of the same task it joins: yields that unit of work, which decides. An error
    that leaves the inner block rolls back the whole, even when it is caught on its way.

    `after_commit` is told at once, even when the caller was cancelled meanwhile: it must neither
    block nor raise. `files` is asked when the first file is stored. `guard`: what is done about
    calls that go round the transaction. Raises `TransactionError` when `terms` differ from those
    of the block that it would join.
    """
    outer = current.owned(database)
    if outer is not None:
        if not terms.fit(outer.terms):
            raise _other_terms(terms, outer.terms)
        with outer.joined():
            yield outer
        return
    watch(guard)
    session = UnitOfWorkSession(
        isolated(database.engine, terms),
        expire_on_commit=False,
        sync_session_class=TransactionSession,
    )
    session.guard = guard
    bind(session.sync_session, terms)
    uow = UnitOfWork(session, files, terms, tells_log=database.tells_log, guard=guard)
    with database.translating():
        try:
            with current.opened(uow, database), running_as(terms.tenant):
                yield uow
                if not uow.is_rollback_only:
                    await uow.write_pending()
                    # Whoever was cancelled before the COMMIT still rolls back.
                    await asyncio.sleep(0)
        except BaseException:
            await _abandon(uow, session)
            raise
        if uow.is_rollback_only:
            await _abandon(uow, session)
        else:
            await uninterrupted(_commit(uow, session, database, after_commit))


def _other_terms(terms: Terms, outer: Terms) -> TransactionError:
    return TransactionError(
        f"a block with {terms} is inside a transaction that began with {outer}",
        hint="Begin it in a task of its own, or give the outer block what the inner one needs.",
    )


async def _abandon(uow: UnitOfWork, session: UnitOfWorkSession) -> None:
    session.guard = "off"
    await uninterrupted(_roll_back(uow.end(), session))


async def _roll_back(user: asyncio.Task[object] | None, session: AsyncSession) -> None:
    if user is not None:
        # A child that is left in a statement: its connection must be free to roll back.
        user.cancel()
        await asyncio.wait({user}, timeout=ROLLBACK_TIMEOUT.total_seconds())
    await discard(session)


async def _commit(
    uow: UnitOfWork,
    session: UnitOfWorkSession,
    database: Database,
    after_commit: Callable[[UnitOfWork], None],
) -> None:
    session.guard = "off"
    await commit(session, database, uow.mark)
    after_commit(uow)
