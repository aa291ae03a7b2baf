"""The unit of work that is open here, known without being handed down: to join it, and to guard it.

A context is copied by every task that is made inside, and a child that joined its parent's
transaction would use one connection at the same time. So each entry names the task that opened
it: `owned` counts only there, `surrounding` also in its children and in threads that were given
the context. Written by `transaction.py` alone.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bedplate.unit_of_work import UnitOfWork


@dataclass(slots=True, eq=False)
class _Opened:
    """An open unit of work; ended, it forgets everything, for a context may outlive it by far."""

    unit_of_work: "UnitOfWork | None"
    database: object
    task: "asyncio.Task[object] | None"
    outer: "_Opened | None"

    def forget(self) -> None:
        self.unit_of_work = self.database = self.task = self.outer = None


_innermost: ContextVar[_Opened | None] = ContextVar("bedplate_unit_of_work", default=None)


def owned(database: object) -> "UnitOfWork | None":
    """The unit of work on this database that the running task has open, or None."""
    if _innermost.get() is None:
        return None
    task = running_task()
    for each in _open_ones():
        if each.database is database and each.task is task and task is not None:
            return each.unit_of_work
    return None


def surrounding() -> "UnitOfWork | None":
    """The innermost open unit of work that this call is inside, whichever task opened it."""
    # The guard asks at every command of Redis: outside of everything this is all.
    if _innermost.get() is None:
        return None
    return next((each.unit_of_work for each in _open_ones()), None)


@contextmanager
def opened(unit_of_work: "UnitOfWork", database: object) -> Iterator[None]:
    """Have the running task own this unit of work for the time of the block."""
    entry = _Opened(unit_of_work, database, running_task(), next(_open_ones(), None))
    _innermost.set(entry)
    try:
        yield
    finally:
        # By value and not by token: a fixture's end may run in another context than its begin.
        if _innermost.get() is entry:
            _innermost.set(entry.outer)
        entry.forget()


@contextmanager
def apart() -> Iterator[None]:
    """A place that is inside nothing: a request, which answers for its own commit.

    An application that is called in process, as tests do, runs in its caller's task.
    """
    outer = _innermost.get()
    _innermost.set(None)
    try:
        yield
    finally:
        if _innermost.get() is None:
            _innermost.set(outer)


def running_task() -> "asyncio.Task[object] | None":
    """The task that runs here; None in a thread without a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _open_ones() -> Iterator[_Opened]:
    each = _innermost.get()
    while each is not None:
        if each.unit_of_work is not None:
            yield each
        each = each.outer
