"""The scheduler: enqueues a periodic task's job at each tick, once, however many of it run.

bedplate.schedules has a row per task and schedule with its next tick. Whoever finds it due moves
it on and inserts the job in one statement, guarded by the tick that was read: of any number of
schedulers one succeeds, none leads, and one that is killed leaves nothing half done. After a
downtime the missed ticks are one job. A job that nobody has begun yet stands for the next tick,
too; two of one task never run at the same time. The database's clock says what is due.
Called by the relay's process, and by the direct worker.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.errors import PoolExhaustedError, UnreachableError
from bedplate.jobs.schedules import Schedule
from bedplate.jobs.tasks import Task
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.rows.layer_metadata import LAYER_METADATA

log = logging.getLogger("bedplate.jobs.scheduler")

POLL = timedelta(seconds=1)
SHORTEST_WAIT = timedelta(milliseconds=10)
# A schedule that no code knows any more is forgotten; a roll-back within this time finds it.
MEMORY = timedelta(days=30)

schedules = Table(
    "schedules",
    LAYER_METADATA,
    Column("task", Text, primary_key=True),
    Column("schedule", Text, primary_key=True),
    Column("next_at", DateTime(timezone=True), nullable=False),
    Column("last_at", DateTime(timezone=True)),
    Column("job_id", Uuid),
)

NOW = text("SELECT clock_timestamp()")

READ = text("SELECT task, schedule, next_at FROM bedplate.schedules")

# Old and new code have different schedules during a deploy, and a row each: both go on.
BEGIN = text("""
INSERT INTO bedplate.schedules (task, schedule, next_at)
VALUES (:task, :schedule, :next_at)
    ON CONFLICT DO NOTHING
""")

FORGET = text("""
DELETE FROM bedplate.schedules
 WHERE next_at < CAST(:now AS timestamptz) - CAST(:memory AS interval)
   AND NOT (task || ' ' || schedule) = ANY(CAST(:known AS text[]))
""")

# The row's lock makes others wait for this statement alone; then `next_at` is another, and they
# move nothing. The group key keeps two jobs of a task from running at once.
TICK = text("""
WITH moved AS (
    UPDATE bedplate.schedules AS schedule
       SET last_at = schedule.next_at,
           next_at = :next_at,
           job_id = CASE WHEN EXISTS (SELECT
                                        FROM bedplate.jobs AS waiting
                                       WHERE waiting.id = schedule.job_id
                                         AND waiting.state IN ('ready', 'sent')
                                         AND waiting.attempt = 0)
                         THEN schedule.job_id ELSE :job_id END
     WHERE schedule.task = :task
       AND schedule.schedule = :schedule
       AND schedule.next_at = :tick
    RETURNING schedule.job_id
), added AS (
    INSERT INTO bedplate.jobs
           (id, task, queue, arguments, arguments_version, max_attempts, group_key, run_at)
    SELECT moved.job_id, :task, :queue, CAST(:arguments AS jsonb), :version, :max_attempts,
           :group_key, :tick
      FROM moved
     WHERE moved.job_id = :job_id
    RETURNING id
)
SELECT moved.job_id, added.id IS NOT NULL AS is_added
  FROM moved LEFT JOIN added ON added.id = moved.job_id
""")

Clock = Callable[[AsyncConnection], Awaitable[datetime]]


async def database_time(connection: AsyncConnection) -> datetime:
    """What time it is, to whoever schedules."""
    now: datetime = (await connection.execute(NOW)).scalar_one()
    return now


class Scheduler:
    """Enqueues what is due of one layer's periodic tasks. The layer is opened by the caller."""

    def __init__(
        self,
        layer: DataLayer,
        tasks: Iterable[Task[Any]],
        *,
        poll: timedelta = POLL,
        clock: Clock = database_time,
    ) -> None:
        self._layer = layer
        self._owner = layer.owner_database
        self._periodic = [(each, each.schedule) for each in tasks if each.schedule is not None]
        self._poll = poll
        self._clock = clock
        self._has_begun = False
        self._is_down = False

    @property
    def has_tasks(self) -> bool:
        """Whether there is anything to schedule."""
        return bool(self._periodic)

    async def run(self) -> None:
        """Enqueue what is due until cancelled. Outlives a database that goes and comes back."""
        while self.has_tasks:
            wait = await self._attempt()
            await asyncio.sleep(wait.total_seconds())

    async def tick(self) -> list[UUID]:
        """Enqueue what is due now. Returns the new jobs. Raises what `run` would wait for."""
        added, _ = await self._pass()
        return added

    async def _attempt(self) -> timedelta:
        try:
            _, wait = await self._pass()
        except (UnreachableError, PoolExhaustedError) as error:
            if not self._is_down:
                log.warning("No tick while the database is away", extra={"error": str(error)})
            self._is_down, self._has_begun = True, False
            return self._poll
        self._is_down = False
        return wait

    async def _pass(self) -> tuple[list[UUID], timedelta]:
        """The new jobs, and how long nothing more is due, at most a poll."""
        engine = self._owner.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with self._owner.translated(), engine.connect() as connection:
            now = await self._clock(connection)
            if not self._has_begun:
                await self._begin(connection, now)
            rows = (await connection.execute(READ)).all()
            due = {(row.task, row.schedule): row.next_at for row in rows}
            added: list[UUID] = []
            for task, schedule in self._periodic:
                at = due.get((task.name, str(schedule)))
                if at is not None and at <= now:
                    added += await self._tick(connection, task, schedule, at, now)
        if added:
            self._layer.wakeup.request()
        later = [at - now for at in due.values() if at > now]
        return added, max(min([self._poll, *later]), SHORTEST_WAIT)

    async def _begin(self, connection: AsyncConnection, now: datetime) -> None:
        """A schedule that is new has its first tick after now: it has missed none."""
        for task, schedule in self._periodic:
            values = {
                "task": task.name,
                "schedule": str(schedule),
                "next_at": schedule.next_after(now),
            }
            await connection.execute(BEGIN, values)
        known = [f"{task.name} {schedule}" for task, schedule in self._periodic]
        await connection.execute(FORGET, {"now": now, "memory": MEMORY, "known": known})
        self._has_begun = True

    async def _tick(
        self,
        connection: AsyncConnection,
        task: Task[Any],
        schedule: Schedule,
        tick: datetime,
        now: datetime,
    ) -> Sequence[UUID]:
        values = {
            "task": task.name,
            "schedule": str(schedule),
            "tick": tick,
            "next_at": schedule.next_after(now),
            "job_id": new_id(),
            "queue": task.queue,
            "arguments": json.dumps(task.encode_tick(tick)),
            "version": task.args_version,
            "max_attempts": task.max_attempts,
            "group_key": f"schedule {task.name}",
        }
        row = (await connection.execute(TICK, values)).one_or_none()
        if row is None:
            return []
        facts = {"task": task.name, "tick": tick.isoformat(), "job_id": str(row.job_id)}
        if not row.is_added:
            log.info("A tick has no job of its own: the last one has not begun", extra=facts)
            return []
        log.info("A periodic job is due", extra=facts)
        return [row.job_id]
