"""What the checkers of the invariants say, and what they are given to look at."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.layer import DataLayer

# A check must never be what a busy server suffers from.
STATEMENT_TIMEOUT = "30s"
LIMIT_TIME = text("SELECT set_config('statement_timeout', :limit, true)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: of what, what is seen, and what to do. A warning breaks no invariant yet."""

    invariant: int
    subject: str
    what: str
    hint: str
    is_warning: bool = False


@dataclass(slots=True)
class Checked:
    """What one checker has seen: how many things it looked at, of what kind, and its findings."""

    looked_at: int = 0
    noun: str = "rows"
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Subject:
    """A live system under examination: an open layer, and how far to look.

    `limit` bounds findings, files and keys, each; with `is_deep` every object looked at is read
    and hashed. `patience` is how long work may lie there before it counts as forgotten.
    """

    layer: DataLayer
    limit: int = 10_000
    is_deep: bool = False
    patience: timedelta = timedelta(seconds=60)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A READ ONLY transaction as the schema's owner, whose statements end in time."""
        database = self.layer.owner_database
        engine = database.engine.execution_options(postgresql_readonly=True)
        async with database.translated(), engine.connect() as connection:
            await connection.execute(LIMIT_TIME, {"limit": STATEMENT_TIMEOUT})
            yield connection


Checker = Callable[[Subject], Awaitable[Checked]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A query that returns `subject` and `why` for each violation.

    It may use :limit and :patience, and must end with LIMIT :limit.
    """

    query: TextClause
    hint: str
    is_warning: bool = False

    async def apply(
        self, invariant: int, subject: Subject, connection: AsyncConnection, **values: Any
    ) -> list[Finding]:
        """The findings."""
        values |= {"limit": subject.limit, "patience": subject.patience}
        # Only what the query names: the driver refuses the rest.
        names = self.query.compile().params
        found = await connection.execute(
            self.query, {name: value for name, value in values.items() if name in names}
        )
        return [
            Finding(invariant, row.subject, row.why, self.hint, self.is_warning) for row in found
        ]


async def apply_rules(
    invariant: int, subject: Subject, *rules: Rule, count: TextClause | None = None, **values: Any
) -> Checked:
    """Every rule in one READ ONLY transaction; `count` says how many rows they were about."""
    checked = Checked()
    async with subject.reading() as connection:
        for rule in rules:
            checked.findings += await rule.apply(invariant, subject, connection, **values)
        if count is not None:
            checked.looked_at = int(await connection.scalar(count) or 0)
    return checked
