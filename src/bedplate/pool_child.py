"""What one child of a worker's pool works with: an event loop, and an open layer per system.

Promises that nothing is opened before the fork, that a process keeps them for its life, and that
a message can do no more than name a job. What is lost, doubled or forged here costs time and
nothing else. Made by `celery.py`.
"""

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from uuid import UUID

from bedplate.cache import attendance
from bedplate.delivery.broker import Broker
from bedplate.delivery.stand_in import StandIn
from bedplate.errors import BedplateError
from bedplate.event_loop import new_loop, settled_heap
from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Outcome, ProcessExitError, Worker
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System

log = logging.getLogger("bedplate.celery")

# How long a process that is told to end waits for its job to be handed back; then the lease does.
HAND_BACK_TIMEOUT = timedelta(seconds=5)
# How soon a stand-in tries again to open its layer while the database is away.
REOPEN_PAUSE = timedelta(seconds=5)


class Runtime:
    """What one pool child works with: an event loop, and per system an open layer and a worker.

    Made in the parent, where it opens nothing; everything is opened at the first job, so that no
    connection crosses a fork. The loop runs in a thread of its own: what a job leaves to be sent
    goes out after it, and a signal interrupts the main thread, which only waits.
    """

    def __init__(
        self,
        systems: Sequence[System],
        load_settings: Callable[[str], Settings],
        *,
        stop_reader: int | None = None,
    ) -> None:
        self._systems = {system.name: system for system in systems}
        self._load_settings = load_settings
        self._stop_reader = stop_reader
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: dict[str, tuple[DataLayer, Worker]] = {}
        self._opening = asyncio.Lock()
        self._settled = contextlib.ExitStack()
        self._standing_in: list[Future[None]] = []
        self._is_stopping = False
        self.dropped: Counter[str] = Counter()

    def run(self, *arguments: object) -> Outcome | None:
        """Run the job that a message names. None: the message is none of ours, and dropped.

        Raises only what ends the process, after the job was handed back. A job that could not be
        run is offered again.
        """
        named = self._named_by(arguments)
        if named is None:
            return None
        system, job_id = named
        loop = self._started()
        running = asyncio.run_coroutine_threadsafe(self._run(system, job_id), loop)
        try:
            return running.result()
        except ProcessExitError as error:
            raise SystemExit(1) from error
        except (SystemExit, KeyboardInterrupt):
            loop.call_soon_threadsafe(self._stop)
            wait({running}, timeout=HAND_BACK_TIMEOUT.total_seconds())
            raise
        except BedplateError:
            log.exception(
                "A job could not be run; it is offered again",
                extra={"system": system.name, "job_id": str(job_id)},
            )
            return None

    def stand_in(self) -> None:
        """Say that a worker is there, and deliver, slowly, whenever no relay does.

        One child of a worker is enough for both.
        """
        for system in self._systems.values():
            for duty in (self._stand_in, self._attend):
                running = asyncio.run_coroutine_threadsafe(duty(system), self._started())
                self._standing_in.append(running)

    def close(self, **_: object) -> None:
        """Close every layer and the loop."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        closing = asyncio.run_coroutine_threadsafe(self._close(), loop)
        wait({closing}, timeout=HAND_BACK_TIMEOUT.total_seconds())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _named_by(self, arguments: tuple[object, ...]) -> tuple[System, UUID] | None:
        match arguments:
            case (str(name), str(raw)) if name in self._systems:
                try:
                    return self._systems[name], UUID(raw)
                except ValueError:
                    reason = "no_job_id"
            case (str(), str()):
                reason = "unknown_system"
            case _:
                reason = "malformed"
        self.dropped[reason] += 1
        # Not its arguments: anyone who reaches Redis may have written them.
        log.warning(
            "A message is none of ours and was dropped",
            extra={"reason": reason, "dropped": self.dropped[reason]},
        )
        return None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = new_loop()
            if self._stop_reader is not None:
                self._loop.add_reader(self._stop_reader, self._on_stop)
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="bedplate-jobs", daemon=True
            )
            self._thread.start()
        return self._loop

    # Below: only in the loop's thread.

    async def _run(self, system: System, job_id: UUID) -> Outcome:
        return await (await self._worker_for(system)).run(job_id)

    async def _worker_for(self, system: System) -> Worker:
        async with self._opening:
            if system.name not in self._open:
                await self._open_worker(system)
        return self._open[system.name][1]

    async def _open_worker(self, system: System) -> None:
        settings = self._load_settings(system.name)
        layer = DataLayer(settings, name=system.name)
        await layer.open()
        if not self._open:
            self._settled.enter_context(settled_heap())
        worker = Worker(
            layer, layer.owner_database, registry_of(system.tasks), lease=settings.lease
        )
        self._open[system.name] = (layer, worker)
        if self._is_stopping:
            worker.stop()

    async def _stand_in(self, system: System) -> None:
        while True:
            layer = await self._layer_for(system)
            async with Broker(layer.settings.redis()) as broker:
                await StandIn(layer, broker).run()

    async def _attend(self, system: System) -> None:
        layer = await self._layer_for(system)
        await attendance.keep(layer.redis.client(), system.name)

    async def _layer_for(self, system: System) -> DataLayer:
        """The open layer, once the database lets it be opened."""
        while True:
            try:
                await self._worker_for(system)
            except (BedplateError, OSError):
                log.debug("A layer could not be opened", exc_info=True)
                await asyncio.sleep(REOPEN_PAUSE.total_seconds())
            else:
                return self._open[system.name][0]

    async def _close(self) -> None:
        for running in self._standing_in:
            running.cancel()
        while self._open:
            _, (layer, worker) = self._open.popitem()
            await worker.close()
            await layer.close()
        self._settled.close()

    def _on_stop(self) -> None:
        if self._stop_reader is not None:
            # A pipe at its end is readable for ever.
            asyncio.get_running_loop().remove_reader(self._stop_reader)
        self._stop()

    def _stop(self) -> None:
        """Hand back what runs and what comes."""
        self._is_stopping = True
        for _, worker in self._open.values():
            worker.stop()
