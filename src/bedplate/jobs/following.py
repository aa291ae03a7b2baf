"""Whoever waits for a job sees it move: one look at the ledger for all who follow, now and then.

    with layer.following.follow(job_id, tenant=tenant) as follower:
        while (standing := await follower.next()) is not None: ...

A follower holds no connection. One task of the process reads all jobs that are followed in one
statement, and hears only of those that moved, so a thousand followers cost what one does; it works
behind a transaction pooler, and goes on by itself after the database was away. It reads as the
schema's owner, the tenant being part of what is asked. Called by `fastapi/events.py`.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import text

from bedplate.errors import BedplateError
from bedplate.jobs.table import JobState
from bedplate.rows.database import Database
from bedplate.rows.driver import DriverConnection

log = logging.getLogger("bedplate.jobs.following")

# What a person takes for "at once", and one short statement a process.
LOOK_EVERY = timedelta(milliseconds=250)
# While the database is away.
RETRY_EVERY = timedelta(seconds=1)
# A look takes milliseconds; a connection that is silent for this long is dead.
LOOK_TIMEOUT = timedelta(seconds=5)

# Only those that moved since they were last seen, or are gone: what is at rest costs the server an
# index look and this process nothing.
LOOK = text("""
SELECT wanted.number, job.state, job.progress, job.attempt
  FROM unnest(CAST(:ids AS uuid[]), CAST(:tenants AS text[]), CAST(:states AS text[]),
              CAST(:percents AS smallint[]), CAST(:attempts AS integer[]))
         WITH ORDINALITY AS wanted (id, tenant, state, progress, attempt, number)
  LEFT JOIN bedplate.jobs AS job
    ON job.id = wanted.id
   AND job.tenant IS NOT DISTINCT FROM wanted.tenant
 WHERE job.id IS NULL
    OR (job.state, job.progress, job.attempt)
       IS DISTINCT FROM (wanted.state, wanted.progress, wanted.attempt)
""")

_FAILURES = (BedplateError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@dataclass(frozen=True, slots=True)
class JobStanding:
    """How a job stands: its state, how far it is (0 to 100), and which attempt that is."""

    state: JobState
    progress: int
    attempt: int


@dataclass(slots=True, eq=False)
class _Followed:
    """A job, and who waits for it. `is_over`: nothing will come any more."""

    id: UUID
    tenant: str | None
    standing: JobStanding | None = None
    is_over: bool = False
    followers: "set[Follower]" = field(default_factory=set)

    def tell(self) -> None:
        for follower in self.followers:
            follower.moved.set()


class Follower:
    """One who follows one job, in one task."""

    def __init__(self, followed: _Followed) -> None:
        self._followed = followed
        self._seen: JobStanding | None = None
        self.moved = asyncio.Event()

    async def next(self, timeout: timedelta | None = None) -> JobStanding | None:  # noqa: ASYNC109 - of the wait alone
        """How the job stands now, once it is otherwise than it was; what lies between is left out.

        None when nothing more comes: the job has ended and that was told, there is no such job of
        this tenant, or the process stops. Raises `TimeoutError` when nothing moves for so long.
        """
        async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
            while True:
                standing = self._followed.standing
                if standing is not None and standing != self._seen:
                    self._seen = standing
                    return standing
                if self._followed.is_over or (standing is not None and not standing.state.is_live):
                    return None
                self.moved.clear()
                await self.moved.wait()


class Following:
    """The jobs that this process' followers wait for. Its task runs while there are any."""

    def __init__(self, database: Database, every: timedelta = LOOK_EVERY) -> None:
        self._database = database
        self._every = every
        self._followed: dict[tuple[UUID, str | None], _Followed] = {}
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_lost = False

    @contextmanager
    def follow(self, job_id: UUID, *, tenant: str | None = None) -> Iterator[Follower]:
        """Follow a job of this tenant for the time of the block. Whether one may, the caller knows.

        To be used in the layer's event loop.
        """
        key = (job_id, tenant)
        followed = self._followed.setdefault(key, _Followed(job_id, tenant))
        follower = Follower(followed)
        followed.followers.add(follower)
        self._start()
        try:
            yield follower
        finally:
            followed.followers.discard(follower)
            if not followed.followers and self._followed.get(key) is followed:
                del self._followed[key]
                if not self._followed:
                    self._joined.set()

    @property
    def jobs(self) -> int:
        """How many jobs are followed."""
        return len(self._followed)

    @property
    def followers(self) -> int:
        """How many follow them."""
        return sum(len(each.followers) for each in self._followed.values())

    @property
    def is_looking(self) -> bool:
        """Whether the task runs that looks at them."""
        return self._task is not None and not self._task.done()

    def end(self) -> None:
        """Tell every follower that nothing more comes: the process is about to stop."""
        for followed in self._followed.values():
            followed.is_over = True
            followed.tell()

    async def close(self) -> None:
        """End all followers, and the looking."""
        self.end()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _start(self) -> None:
        self._joined.set()
        if not self.is_looking:
            # In a context of its own: the caller's may be inside a transaction or a trace.
            self._task = asyncio.get_running_loop().create_task(
                self._look_while_followed(), name="bedplate following", context=Context()
            )

    async def _look_while_followed(self) -> None:
        connection = DriverConnection(self._database)
        try:
            while self._followed:
                self._joined.clear()
                pause = self._every if await self._look(connection) else RETRY_EVERY
                await self._wait(pause)
        finally:
            await connection.close()

    async def _wait(self, pause: timedelta) -> None:
        """For the next look, or for somebody new, who wants to see at once, or for nobody left."""
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._joined.wait()
        except TimeoutError:
            return

    async def _look(self, connection: DriverConnection) -> bool:
        """See what moved, and tell; whether the database answered."""
        asked = [each for each in self._followed.values() if not each.is_over]
        standings = [each.standing for each in asked]
        try:
            async with asyncio.timeout(LOOK_TIMEOUT.total_seconds()):
                rows = await connection.fetch(
                    LOOK,
                    ids=[each.id for each in asked],
                    tenants=[each.tenant for each in asked],
                    states=[each and each.state for each in standings],
                    percents=[each and each.progress for each in standings],
                    attempts=[each and each.attempt for each in standings],
                )
        except _FAILURES:
            self._note_loss()
            await connection.close()
            return False
        self._is_lost = False
        for row in rows:
            followed = asked[row["number"] - 1]
            if row["state"] is None:
                followed.is_over = True
            else:
                state = JobState(row["state"])
                followed.standing = JobStanding(state, row["progress"], row["attempt"])
            followed.tell()
        return True

    def _note_loss(self) -> None:
        if not self._is_lost:
            log.warning("The jobs that are followed cannot be seen; trying again", exc_info=True)
        self._is_lost = True
