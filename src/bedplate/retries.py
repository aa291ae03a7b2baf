"""A function that is one transaction, done again as a whole when the server could not commit it.

    async def transfer(uow: UnitOfWork, amount: int) -> None: ...

    await layer.run(transfer, 100)

Done again: serialization failures, deadlocks, locks that were not had in time, and a connection
that broke with the transaction rolled back. Never half of it, never after an unknown outcome, and
never inside a transaction of somebody else's, which alone could be done again. Called by
`layer.py`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from bedplate.errors import DatabaseUnreachableError
from bedplate.rows.tenancy import NO_TERMS, Terms
from bedplate.unit_of_work import UnitOfWork

log = logging.getLogger("bedplate.retries")

T = TypeVar("T")

# serialization_failure, deadlock_detected, lock_not_available.
RETRIED_STATES = frozenset({"40001", "40P01", "55P03"})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long a function is done again, and the terms of each try."""

    attempts: int = 5
    within: timedelta = timedelta(seconds=10)
    first_pause: timedelta = timedelta(milliseconds=20)
    longest_pause: timedelta = timedelta(seconds=1)
    terms: Terms = NO_TERMS


async def repeat(
    begin: Callable[[], AbstractAsyncContextManager[UnitOfWork]],
    function: Callable[[UnitOfWork], Awaitable[T]],
    retries: Retries,
) -> T:
    """Run the function in transactions of its own until one commits. Raises the last failure."""
    deadline = time.monotonic() + retries.within.total_seconds()
    attempt = 0
    while True:
        attempt += 1
        try:
            async with begin() as uow:
                result = await function(uow)
        except (DBAPIError, DatabaseUnreachableError) as error:
            pause = _pause(retries, attempt)
            is_over = attempt >= retries.attempts or time.monotonic() + pause >= deadline
            if is_over or not is_worth_repeating(error):
                raise
            log.info("A transaction is done again", extra={"attempt": attempt, "why": _why(error)})
            await asyncio.sleep(pause)
        else:
            return result


def is_worth_repeating(error: BaseException) -> bool:
    """Whether nothing was committed, and the same again may succeed."""
    if isinstance(error, DatabaseUnreachableError):
        return True
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return isinstance(error, DBAPIError) and state in RETRIED_STATES


def _pause(retries: Retries, attempt: int) -> float:
    """Twice as long each time, and anything between half and all of it: they met once already."""
    longest = min(retries.first_pause * 2.0 ** (attempt - 1), retries.longest_pause)
    part: float = random.uniform(0.5, 1)  # noqa: S311 - no secret
    return longest.total_seconds() * part


def _why(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or type(error).__name__)
