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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bedplate.delivery import outbox
from bedplate.delivery.broker import Broker, WakeUp
from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.delivery.outbox import Message
from bedplate.delivery.sweeper import sweep
from bedplate.delivery.wakeup import Listener
from bedplate.errors import BedplateError, PoolExhaustedError, UnreachableError
from bedplate.failpoints import failpoint
from bedplate.jobs import ledger
from bedplate.layer import DataLayer

log = logging.getLogger("bedplate.delivery.relay")

BATCH = 200
POLL = timedelta(seconds=1)
# Sent and not yet claimed, per queue: enough to keep every worker busy, few enough that a job of
# higher priority soon gets its turn and that a lost Redis is refilled within a deadline.
WINDOW = 1000
FIRST_BACKOFF = timedelta(milliseconds=250)
LONGEST_BACKOFF = timedelta(seconds=5)
# A relay that is stopped while it holds messages must not hold them for ever.
IDLE_IN_TRANSACTION = "10s"

LIMIT_IDLE = text("SELECT set_config('idle_in_transaction_session_timeout', :limit, true)")

# Published or not, nobody can tell: both are offered again, and a second message finds nothing.
TAKE_BACK = text("""
UPDATE bedplate.jobs
   SET state = 'ready',
       lease_until = NULL
 WHERE id = ANY(CAST(:ids AS uuid[]))
   AND state = 'sent'
""")

Action = Callable[[DataLayer, Sequence[Message]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one pass did."""

    jobs: int = 0
    messages: int = 0
    rescued: int = 0

    def __bool__(self) -> bool:
        return bool(self.jobs or self.messages)


class Backoff:
    """How long to leave one destination alone. Says once that it is down, once that it is back."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._failures = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the destination may be tried now."""
        return time.monotonic() >= self._until

    @property
    def pause(self) -> timedelta:
        """What it waits after the failures so far."""
        doublings = min(max(self._failures - 1, 0), 10)
        return min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)

    def fail(self, error: Exception) -> None:
        """It did not answer."""
        self._failures += 1
        self._until = time.monotonic() + self.pause.total_seconds()
        if self._failures == 1:
            log.warning(
                "A destination does not answer; what it is to be told waits in PostgreSQL",
                extra={"destination": self.destination, "error": str(error)},
            )

    def succeed(self) -> None:
        """It answered."""
        if self._failures:
            log.info("A destination answers again", extra={"destination": self.destination})
        self._failures = 0
        self._until = 0.0


async def invalidate(layer: DataLayer, messages: Sequence[Message]) -> None:
    """Have Redis forget the keys: doing it twice is doing it once."""
    await layer.redis.client().unlink(*dict.fromkeys(message.key for message in messages))


ACTIONS: Mapping[str, Action] = {outbox.INVALIDATE: invalidate}


class Relay:
    """Delivers for one layer, whose owner's database it uses. The layer is opened by the caller."""

    def __init__(
        self,
        layer: DataLayer,
        broker: Broker,
        *,
        actions: Mapping[str, Action] = ACTIONS,
        poll: timedelta = POLL,
        deadline: timedelta = ledger.SENT_DEADLINE,
        window: int = WINDOW,
        batch: int = BATCH,
    ) -> None:
        self._layer = layer
        self._broker = broker
        self._actions = actions
        self._poll = poll
        self._deadline = deadline
        self._window = window
        self._batch = batch
        self._owner = layer.owner_database
        self._statements = self._owner.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._listener = Listener(self._owner)
        self._outstanding: Counter[str] = Counter()
        self._next_sweep = 0.0
        self._to_database = Backoff("database")
        self._to_broker = Backoff("broker")
        self._to_kinds = {kind: Backoff(kind) for kind in actions}

    @property
    def is_listening(self) -> bool:
        """Whether wake-ups are heard; without them it looks each `poll`."""
        return self._listener.is_listening

    async def run(self) -> None:
        """Deliver until cancelled. Outlives every server that goes away and comes back."""
        await self._listener.open()
        try:
            while True:
                if not await self._pass():
                    await self._listener.wait(self._poll)
        finally:
            await self._listener.close()

    async def drain(self) -> Delivered:
        """Sweep, then deliver all that is due now. Raises what `run` would wait for."""
        jobs = messages = 0
        async with self._owner.translated():
            rescued = await self._sweep()
            while done := await self._deliver():
                jobs += done.jobs
                messages += done.messages
        return Delivered(jobs, messages, rescued)

    async def _pass(self) -> bool:
        """Whether anything was delivered, so that more may be waiting."""
        if not self._to_database.is_open:
            return False
        try:
            async with self._owner.translated():
                delivered = await self._deliver()
                if time.monotonic() >= self._next_sweep:
                    await self._sweep()
        except (UnreachableError, PoolExhaustedError) as error:
            self._to_database.fail(error)
            return False
        self._to_database.succeed()
        return bool(delivered)

    async def _sweep(self) -> int:
        self._next_sweep = time.monotonic() + self._poll.total_seconds()
        async with self._statements.connect() as connection:
            swept = await sweep(connection, self._broker, self._layer.name, deadline=self._deadline)
        self._outstanding = Counter(swept.outstanding)
        return swept.rescued

    async def _deliver(self) -> Delivered:
        jobs = await self._send_jobs() if self._to_broker.is_open else 0
        return Delivered(jobs, await self._act_on_messages())

    async def _send_jobs(self) -> int:
        full = [queue for queue, sent in self._outstanding.items() if sent >= self._window]
        async with self._statements.connect() as connection:
            # One statement that commits by itself: a relay that is stopped here holds no lock.
            taken = await ledger.take_ready(
                connection, self._batch, deadline=self._deadline, full_queues=full
            )
        if not taken:
            return 0
        failpoint("relay.after_mark")
        try:
            await self._broker.publish(
                [WakeUp(self._layer.name, job.queue, job.id) for job in taken]
            )
        except UnreachableError as error:
            self._to_broker.fail(error)
            async with self._statements.connect() as connection:
                await connection.execute(TAKE_BACK, {"ids": [job.id for job in taken]})
            return 0
        failpoint("relay.after_publish")
        self._to_broker.succeed()
        self._outstanding.update(job.queue for job in taken)
        return len(taken)

    async def _act_on_messages(self) -> int:
        resting = [kind for kind, backoff in self._to_kinds.items() if not backoff.is_open]
        async with self._owner.engine.begin() as connection:
            await connection.execute(LIMIT_IDLE, {"limit": IDLE_IN_TRANSACTION})
            taken = await outbox.take(connection, self._batch, skipped=resting)
            done = 0
            for kind in dict.fromkeys(message.kind for message in taken):
                same = [message for message in taken if message.kind == kind]
                if await self._act(connection, kind, same):
                    done += len(same)
            failpoint("relay.before_delete")
        return done

    async def _act(self, connection: AsyncConnection, kind: str, messages: list[Message]) -> bool:
        ids = [message.id for message in messages]
        action = self._actions.get(kind)
        if action is None:
            log.error("A message has a kind that nobody acts on", extra={"kind": kind})
            await outbox.put_back(
                connection, ids, error=f"no action for kind {kind}", backoff=timedelta(minutes=1)
            )
            return False
        backoff = self._to_kinds[kind]
        try:
            await action(self._layer, messages)
        except (UnreachableError, RedisConnectionError, RedisTimeoutError, OSError) as error:
            # The destination's fault and not the messages': none of their attempts is spent.
            backoff.fail(error)
            return False
        except (BedplateError, RedisError) as error:
            reason = f"{type(error).__name__}: {error}"
            await outbox.put_back(connection, ids, error=reason, backoff=_pause_of(messages))
            return False
        await outbox.delete(connection, ids)
        backoff.succeed()
        return True


def _pause_of(messages: Sequence[Message]) -> timedelta:
    """By the message that failed most often: 1, 2, 4 … seconds, at most some minutes."""
    return timedelta(seconds=1 << min(max(message.attempts for message in messages), 8))


async def run_relays(layers: Sequence[DataLayer]) -> None:
    """Deliver for every open layer until cancelled, over one connection to each broker."""
    async with contextlib.AsyncExitStack() as stack:
        brokers: dict[str, Broker] = {}
        for layer in layers:
            url = layer.settings.redis()
            if url not in brokers:
                brokers[url] = await stack.enter_async_context(Broker(url))
        async with asyncio.TaskGroup() as group:
            for layer in layers:
                relay = Relay(layer, brokers[layer.settings.redis()])
                group.create_task(relay.run(), name=f"relay {layer.name}")
                if layer.settings.has_files:
                    sweeper = FileSweeper(layer)
                    group.create_task(sweeper.run(), name=f"files {layer.name}")
