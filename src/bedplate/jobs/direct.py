"""The direct worker: takes jobs from PostgreSQL itself, without Redis and without Celery.

    LISTEN, or a second ──► claim as many as there is room for ──► run them side by side

One process, one event loop, any number of systems; `concurrency` jobs at once over all of them.
Told to stop it claims nothing more and hands back what runs. It also does slowly what relays do
for jobs: puts back those of workers that went silent. Called by `bedplate worker --direct`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from bedplate.delivery.backoff import Backoff
from bedplate.delivery.progress import KnownLanes
from bedplate.delivery.wakeup import Listener
from bedplate.errors import BedplateError, UnreachableError
from bedplate.jobs import direct_claims, ledger
from bedplate.jobs.leases import Claim
from bedplate.jobs.ledger import Lane
from bedplate.jobs.worker import ProcessExitError, Worker, worker_name
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection
from bedplate.transaction_end import uninterrupted

log = logging.getLogger("bedplate.jobs.direct")

POLL = timedelta(seconds=1)
# How often it says that it serves, and looks for what others left: well within its lease.
SERVE_INTERVAL = timedelta(seconds=2)


class Room:
    """How many jobs may still begin in this process. Shared by its direct workers."""

    def __init__(self, concurrency: int) -> None:
        self.free = concurrency
        self._watchers: list[asyncio.Event] = []

    def watch(self, changed: asyncio.Event) -> None:
        """Have the event set whenever a job ends."""
        self._watchers.append(changed)

    def take(self, count: int) -> None:
        """So many jobs are to begin."""
        self.free -= count

    def give_back(self, count: int = 1) -> None:
        """So many have ended, or did not begin."""
        self.free += count
        if count:
            for changed in self._watchers:
                changed.set()


class DirectWorker:
    """Claims and runs the jobs of one layer's queues. The layer is opened by the caller."""

    def __init__(
        self,
        layer: DataLayer,
        worker: Worker,
        queues: Sequence[str],
        room: Room,
        *,
        poll: timedelta = POLL,
    ) -> None:
        self._layer = layer
        self._worker = worker
        self._queues = sorted(queues)
        self._room = room
        self._poll = poll
        self._lease = layer.settings.lease
        self._owner = layer.owner_database
        # Each statement is a transaction, and none waits for another's round trip.
        self._claims = DriverConnection(self._owner)
        self._duties = DriverConnection(self._owner)
        self._listener = Listener(self._owner)
        self._name = worker_name()
        self._running: set[asyncio.Task[None]] = set()
        self._lanes = KnownLanes()
        # To read them for each claim would double what a claim costs: once for each wake-up.
        self._may_be_other_lanes = True
        # There may be work, or room for it.
        self._look = asyncio.Event()
        self._stopping = asyncio.Event()
        self._exit: ProcessExitError | None = None
        self._to_database = Backoff("database")
        room.watch(self._look)

    async def run(self) -> None:
        """Work until `stop`. Outlives a database that goes away and comes back.

        Raises `ProcessExitError` when a task asked for the end of the process, after its job and
        all others were handed back.
        """
        await self._listener.open()
        duties = asyncio.create_task(self._keep_serving(), name=f"duties {self._layer.name}")
        loop = asyncio.create_task(self._claim_and_begin(), name=f"claims {self._layer.name}")
        try:
            await asyncio.wait({loop, duties}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            await uninterrupted(self._end(loop, duties))
        if self._exit is not None:
            raise self._exit

    def stop(self) -> None:
        """Claim nothing more, and hand back what runs. From the loop's thread."""
        self._worker.stop()
        self._stopping.set()
        self._look.set()

    async def _end(self, loop: "asyncio.Task[None]", duties: "asyncio.Task[None]") -> None:
        # Not cancelled: jobs whose claim is under way would wait for their lease to run out.
        await asyncio.wait({loop})
        if self._running:
            await asyncio.wait(self._running)
        duties.cancel()
        ended = await asyncio.gather(loop, duties, return_exceptions=True)
        with contextlib.suppress(UnreachableError):
            await direct_claims.leave(self._duties, self._name)
        await self._listener.close()
        await self._claims.close()
        await self._duties.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _claim_and_begin(self) -> None:
        while not self._stopping.is_set():
            self._look.clear()
            wanted = self._room.free
            claimed = await self._claim(wanted) if wanted and self._to_database.is_open else []
            for held in claimed:
                self._begin(held)
            if not claimed or len(claimed) < wanted or not self._room.free:
                await self._look.wait()

    async def _claim(self, limit: int) -> list[Claim]:
        # Taken before the first await: another system's worker must not count on it, too.
        self._room.take(limit)
        claimed: list[Claim] = []
        try:
            claimed = await direct_claims.claim_ready(
                self._claims, await self._known_lanes(), self._name, self._lease, limit=limit
            )
        except UnreachableError as error:
            self._may_be_other_lanes = True
            self._to_database.fail(error)
        else:
            self._to_database.succeed()
        finally:
            # Without waking anybody: nothing has changed.
            self._room.take(len(claimed) - limit)
        return claimed

    async def _known_lanes(self) -> list[Lane]:
        if self._may_be_other_lanes:
            self._may_be_other_lanes = False
            self._lanes.note(await ledger.ready_lanes(self._claims))
        return [lane for lane in self._lanes.but(()) if lane.queue in self._queues]

    def _begin(self, held: Claim) -> None:
        running = asyncio.create_task(self._run(held), name=str(held.id))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _run(self, held: Claim) -> None:
        try:
            await self._worker.run_claimed(held)
        except ProcessExitError as error:
            self._exit = error
            self.stop()
        except BedplateError:
            # How it ended could not be written: its lease will run out.
            log.exception("A job could not be ended", extra={"job_id": str(held.id)})
        finally:
            self._room.give_back()

    async def _keep_serving(self) -> None:
        """Look when woken, and each `poll` all the same; say that we serve, whatever runs."""
        next_at = 0.0
        while True:
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + SERVE_INTERVAL.total_seconds()
                await self._serve()
            await self._listener.wait(self._poll)
            self._look_anew()

    def _look_anew(self) -> None:
        self._may_be_other_lanes = True
        self._look.set()

    async def _serve(self) -> None:
        try:
            if await direct_claims.serve(self._duties, self._queues, self._name, self._lease):
                self._look_anew()
            for rescued in await ledger.rescue_expired(self._duties):
                log.warning(
                    "A job whose worker or message was lost is offered again, or dead",
                    extra={"job_id": str(rescued.id), "state": rescued.state},
                )
        except UnreachableError as error:
            self._to_database.fail(error)
