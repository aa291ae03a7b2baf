"""Leases: how a worker comes to own a job, keeps it, and puts it back.

A claim raises the job's fence; whoever has an older one changes nothing any more. The heartbeat
beats from a thread with a loop and a connection of its own, so that a task that blocks its
process' loop keeps its lease. All of it runs as the schema's owner: the tenant stands in the row,
so the application's role could not find it. Called by the worker.
"""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bedplate.errors import UnreachableError
from bedplate.jobs.ledger import JobState
from bedplate.jobs.ledger_connection import LedgerConnection

log = logging.getLogger("bedplate.jobs.leases")

# Beats per lease: one may fail and one may be late before anybody else takes the job.
BEATS_PER_LEASE = 3
LOOKS_PER_BEAT = 4

# Ready as well as sent: the message may arrive after its deadline. A running job with its lease
# run out counts one crash more; one crash before the last it is left to the relay, which buries it.
CLAIM = text("""
UPDATE bedplate.jobs
   SET state = 'running',
       fence = fence + 1,
       attempt = attempt + 1,
       crashes = crashes + CASE state WHEN 'running' THEN 1 ELSE 0 END,
       worker = :worker,
       lease_until = clock_timestamp() + CAST(:lease AS interval)
 WHERE id = :id
   AND (state = 'sent'
        OR (state = 'ready' AND run_at <= clock_timestamp())
        OR (state = 'running' AND lease_until <= clock_timestamp() AND crashes + 1 < :max_crashes))
RETURNING task, queue, arguments, arguments_version, attempt, max_attempts, fence, group_key,
          tenant, actor, trace_context
""")

# Another job of the group runs: the relay sends this one when that has ended.
PUT_BACK_SENT = text("""
UPDATE bedplate.jobs
   SET state = 'ready',
       lease_until = NULL
 WHERE id = :id
   AND state = 'sent'
""")

# For a job that this process cannot run, but another may: no attempt is spent.
PUT_BACK = text("""
UPDATE bedplate.jobs
   SET state = 'ready',
       attempt = attempt - 1,
       run_at = clock_timestamp() + CAST(:delay AS interval),
       last_error = :reason,
       worker = NULL,
       lease_until = NULL
 WHERE id = :id
   AND fence = :fence
   AND state = 'running'
""")

# On the heartbeat's own asyncpg connection, hence the numbered parameters.
BEAT = """
UPDATE bedplate.jobs
   SET lease_until = clock_timestamp() + $3::interval
 WHERE id = $1
   AND fence = $2
   AND state = 'running'
RETURNING id
"""
STATE = "SELECT state, fence FROM bedplate.jobs WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at one job: what to run, and the fence to show at every change."""

    id: UUID
    fence: int
    task: str
    queue: str
    group_key: str | None
    arguments: dict[str, Any]
    arguments_version: int
    attempt: int
    max_attempts: int
    tenant: str | None
    actor: str | None
    trace_context: dict[str, str] | None


async def claim(
    connection: LedgerConnection,
    job_id: UUID,
    worker: str,
    lease: timedelta,
    *,
    max_crashes: int = 3,
) -> Claim | None:
    """Take the job for `lease`. None: it is gone, done, not due, or another worker's.

    Raises `DatabaseUnreachableError`.
    """
    try:
        row = await connection.fetch(
            CLAIM, id=job_id, worker=worker, lease=lease, max_crashes=max_crashes
        )
    except asyncpg.UniqueViolationError:
        await connection.fetch(PUT_BACK_SENT, id=job_id)
        return None
    return None if row is None else claim_of(row, job_id)


def claim_of(row: Mapping[str, Any], job_id: UUID) -> Claim:
    """The claim that a claiming statement returned; its JSON may come as text."""
    fields = {name: value for name, value in row.items() if name != "id"}
    for name in ("arguments", "trace_context"):
        if isinstance(fields[name], str):
            fields[name] = json.loads(fields[name])
    return Claim(id=job_id, **fields)


async def put_back(
    connection: AsyncConnection, job_id: UUID, fence: int, *, reason: str, delay: timedelta
) -> None:
    """Offer the job to other workers after `delay`. Does nothing when it is no longer ours."""
    values = {"id": job_id, "fence": fence, "reason": reason, "delay": delay}
    await connection.execute(PUT_BACK, values)


def autocommit(engine: AsyncEngine) -> AsyncEngine:
    """The same pool; each statement is its own transaction, so a stopped process holds no lock."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@dataclass(slots=True)
class _Kept:
    """A lease that the heartbeat keeps: how often, until when it need not, whom to tell."""

    held: Claim
    lease: timedelta
    pause: float
    due: float
    on_lost: Callable[[JobState | None], None]


class Heartbeat:
    """Extends the leases of this process' jobs. Starts its thread at the first lease to keep.

    The thread looks at the leases by itself, some times per lease: to wake it twice per job would
    cost a small job more than its claim.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], lease: timedelta
    ) -> None:
        self._connect = connect
        self._look = lease.total_seconds() / BEATS_PER_LEASE / LOOKS_PER_BEAT
        self._kept: dict[int, _Kept] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: asyncpg.Connection | None = None

    @contextmanager
    def keeping(
        self,
        held: Claim,
        lease: timedelta,
        on_lost: Callable[[JobState | None], None],
        *,
        claimed_for: timedelta,
    ) -> Iterator[None]:
        """Keep the lease, claimed for `claimed_for`, while the block runs: `lease` more each beat.

        `on_lost` is called once, in the heartbeat's thread, with the state that the job is in,
        when it is no longer ours.
        """
        pause = min(lease, claimed_for).total_seconds() / BEATS_PER_LEASE
        kept = _Kept(held, lease, pause, time.monotonic() + pause, on_lost)
        self._kept[id(kept)] = kept
        self._start()
        try:
            yield
        finally:
            self._kept.pop(id(kept), None)

    def close(self) -> None:
        """End the thread and close its connection."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _start(self) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="bedplate-heartbeat", daemon=True
            )
            self._thread.start()
            asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    # Below: only in the heartbeat's thread.

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look)
            for key, kept in list(self._kept.items()):
                if kept.due <= time.monotonic():
                    await self._beat(key, kept)

    async def _beat(self, key: int, kept: _Kept) -> None:
        kept.due = time.monotonic() + kept.pause
        try:
            async with asyncio.timeout(kept.pause):
                is_ours, state = await self._extend(kept.held, kept.lease)
        except (UnreachableError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # The fence decides at the commit; until then the next beat may get through.
            log.warning("A heartbeat failed", extra={"job_id": str(kept.held.id)}, exc_info=True)
            return
        if not is_ours and self._kept.pop(key, None) is not None:
            kept.on_lost(state)

    async def _extend(self, held: Claim, lease: timedelta) -> tuple[bool, JobState | None]:
        connection = await self._connected()
        if await connection.fetchval(BEAT, held.id, held.fence, lease) is not None:
            return True, JobState.RUNNING
        row = await connection.fetchrow(STATE, held.id)
        if row is None:
            return False, None
        # Nobody else can have succeeded with this fence: the run is just ending.
        has_ended = row["fence"] == held.fence and row["state"] == JobState.SUCCEEDED
        return has_ended, JobState(row["state"])

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def _disconnect(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._connection is not None:
            with contextlib.suppress(OSError, asyncpg.InterfaceError, TimeoutError):
                await self._connection.close(timeout=1)
