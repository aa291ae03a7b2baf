"""The relay: tells other servers what was committed, at least once.

Takes ready jobs, marks them sent with a deadline, commits, and then publishes; takes messages of
the outbox, acts on them, and then deletes them. A crash between two steps means telling again,
which every receiver bears. Woken by NOTIFY after a commit, and looks each second all the same.
Any number of relays may run; they never wait for each other, and none leads. Called by `bedplate
relay`; in development also by whoever runs everything in one process.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import text

from bedplate.delivery.actions import ACTIONS, Action
from bedplate.delivery.backoff import Backoff
from bedplate.delivery.broker import Broker, WakeUp
from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.delivery.job_sweeper import JobSweeper
from bedplate.delivery.messenger import MESSAGE_BATCH, Messenger
from bedplate.delivery.progress import KnownLanes, Progress
from bedplate.delivery.sweeper import count_outstanding, sweep
from bedplate.delivery.wakeup import Listener
from bedplate.errors import UnreachableError
from bedplate.failpoints import failpoint
from bedplate.jobs import direct_claims, ledger
from bedplate.jobs.ledger import SentJob
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection, fetch

log = logging.getLogger("bedplate.delivery.relay")

BATCH = 200
# While one batch is told, the next is taken: as many connections at once when there is a backlog.
AT_ONCE = 2
POLL = timedelta(seconds=1)
# How soon a full queue is looked at again: its workers must not wait for a whole poll.
REFILL = timedelta(milliseconds=100)
# A relay that is stopped while it holds messages must not hold them for ever.
IDLE_IN_TRANSACTION = timedelta(seconds=10)

# Published or not, nobody can tell: both are offered again, and a second message finds nothing.
TAKE_BACK = text("""
UPDATE bedplate.jobs
   SET state = 'ready',
       lease_until = NULL
 WHERE id = ANY(CAST(:ids AS uuid[]))
   AND state = 'sent'
""")


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one pass did. `is_more`: what it left may be due, too, so the next follows at once."""

    jobs: int = 0
    messages: int = 0
    rescued: int = 0
    is_more: bool = field(default=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.jobs or self.messages)


class Relay:
    """Delivers for one layer, whose owner's database it uses. The layer is opened by the caller.

    Without a broker, and for queues that direct workers serve, no job is sent.
    """

    def __init__(
        self,
        layer: DataLayer,
        broker: Broker | None,
        *,
        actions: Mapping[str, Action] = ACTIONS,
        poll: timedelta = POLL,
        deadline: timedelta = ledger.SENT_DEADLINE,
        window: int = ledger.WINDOW,
        batch: int = BATCH,
        message_batch: int = MESSAGE_BATCH,
    ) -> None:
        self._layer = layer
        self._broker = broker
        self._poll = poll
        self._deadline = deadline
        self._window = window
        self._batch = batch
        self._owner = layer.owner_database
        # Relaxed: what a crash of the server forgets is a job marked sent, which is sent again, and
        # a message deleted, which is acted on again.
        self._connections = [
            DriverConnection(self._owner, is_relaxed=True, idle_in_transaction=IDLE_IN_TRANSACTION)
            for _ in range(AT_ONCE)
        ]
        self._connection = self._connections[0]
        self._listener = Listener(self._owner)
        self._outstanding: Counter[str] = Counter()
        self._served_directly: frozenset[str] = frozenset()
        self._counted_at = 0.0
        self._in_jobs = Progress()
        self._lanes = KnownLanes()
        self._next_sweep = 0.0
        self._to_database = Backoff("database")
        self._to_broker = Backoff("broker")
        self._messenger = Messenger(layer, self._connections, actions, batch=message_batch)

    @property
    def is_listening(self) -> bool:
        """Whether wake-ups are heard; without them it looks each `poll`."""
        return self._listener.is_listening

    async def run(self) -> None:
        """Deliver until cancelled. Outlives every server that goes away and comes back."""
        if self._layer.settings.redis_url is not None:
            self._layer.cache.be_patient()
        await self._listener.open()
        try:
            while True:
                if not await self._pass():
                    await self._listener.wait(REFILL if self._full_queues() else self._poll)
        finally:
            await self._listener.close()
            await self._close_connections()

    async def drain(self) -> Delivered:
        """Sweep, then deliver all that is due now. Raises what `run` would wait for."""
        jobs = messages = 0
        try:
            rescued = await self._sweep()
            while done := await self._deliver():
                jobs += done.jobs
                messages += done.messages
        finally:
            await self._close_connections()
        return Delivered(jobs, messages, rescued)

    async def _close_connections(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def _pass(self) -> bool:
        """Whether more may be due than was delivered."""
        if not self._to_database.is_open:
            return False
        try:
            delivered = await self._deliver()
            if time.monotonic() >= self._next_sweep:
                await self._sweep()
        except UnreachableError as error:
            self._to_database.fail(error)
            return False
        self._to_database.succeed()
        return delivered.is_more

    async def _sweep(self) -> int:
        self._next_sweep = time.monotonic() + self._poll.total_seconds()
        self._served_directly = await direct_claims.served_directly(self._connection)
        swept = await sweep(
            self._connection, self._broker, self._layer.name, deadline=self._deadline
        )
        self._note_outstanding(swept.outstanding)
        return swept.rescued

    def _note_outstanding(self, counts: Mapping[str, int]) -> None:
        self._outstanding = Counter(counts)
        self._counted_at = time.monotonic()

    def _full_queues(self) -> list[str]:
        return [queue for queue, sent in self._outstanding.items() if sent >= self._window]

    async def _deliver(self) -> Delivered:
        broker = self._broker if self._to_broker.is_open else None
        jobs = [] if broker is None else await self._send_jobs(broker)
        messages, is_more = await self._messenger.act_on_messages()
        # Of a group one job is sent at a time: fewer than a batch may have come of a full one.
        is_more = is_more or len(jobs) == self._batch or any(job.is_grouped for job in jobs)
        return Delivered(len(jobs), messages, is_more=is_more)

    async def _send_jobs(self, broker: Broker) -> list[SentJob]:
        if self._full_queues() and time.monotonic() - self._counted_at > REFILL.total_seconds():
            self._note_outstanding(await count_outstanding(self._connection))
        taken = await self._take_ready()
        if not taken:
            return []
        failpoint("relay.after_mark")
        try:
            await broker.publish([WakeUp(self._layer.name, job.queue, job.id) for job in taken])
        except UnreachableError as error:
            self._to_broker.fail(error)
            await fetch(self._connection, TAKE_BACK, ids=[job.id for job in taken])
            return []
        failpoint("relay.after_publish")
        self._to_broker.succeed()
        self._outstanding.update(job.queue for job in taken)
        return taken

    async def _take_ready(self) -> list[SentJob]:
        for since in self._in_jobs.looks():
            if since is None:
                self._lanes.note(await ledger.ready_lanes(self._connection))
            # One statement that commits by itself: a relay that is stopped here holds no lock.
            taken = await ledger.take_ready(
                self._connection,
                self._batch,
                lanes=self._lanes.but({*self._full_queues(), *self._served_directly}),
                deadline=self._deadline,
                since=since,
            )
            self._in_jobs.note((job.run_at for job in taken), is_whole=since is None)
            if taken:
                return taken
        return []


async def run_relays(layers: Sequence[DataLayer]) -> None:
    """Deliver for every open layer until cancelled, over one connection to each broker."""
    async with contextlib.AsyncExitStack() as stack:
        brokers: dict[str, Broker] = {}
        for layer in layers:
            if layer.settings.has_broker and layer.settings.redis() not in brokers:
                url = layer.settings.redis()
                brokers[url] = await stack.enter_async_context(Broker(url))
        async with asyncio.TaskGroup() as group:
            for layer in layers:
                has_broker = layer.settings.has_broker
                relay = Relay(layer, brokers[layer.settings.redis()] if has_broker else None)
                group.create_task(relay.run(), name=f"relay {layer.name}")
                group.create_task(JobSweeper(layer).run(), name=f"jobs {layer.name}")
                if layer.settings.has_files:
                    sweeper = FileSweeper(layer)
                    group.create_task(sweeper.run(), name=f"files {layer.name}")
