"""Celery's door: one Celery task, which hands the job that a message names to our worker.

Promises that nothing is opened before the pool forks, that a process keeps one event loop and one
open layer per system for its life, and that a message can do no more than name a job: JSON only,
no remote control, no results. What is lost, doubled or forged here costs time and nothing else.
Called by `bedplate worker`.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import timedelta
from uuid import UUID

from billiard.process import current_process
from celery import Celery, signals
from kombu.entity import Exchange, Queue

from bedplate.cache import attendance
from bedplate.delivery import intake
from bedplate.delivery.broker import (
    RUN_JOB,
    Broker,
    kombu_url,
    queue_name,
    tls_options,
    transport_options,
)
from bedplate.delivery.stand_in import StandIn
from bedplate.errors import BedplateError
from bedplate.event_loop import new_loop, settled_heap
from bedplate.jobs.tasks import DEFAULT_QUEUE, registry_of
from bedplate.jobs.worker import Outcome, ProcessExitError, Worker
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System

log = logging.getLogger("bedplate.celery")

# They say twice what the ledger says of every job; what fails is logged by the worker.
CHATTY = ("celery.worker.strategy", "celery.app.trace")
# Seconds that a pool child may take to begin: many children share few cores at a start.
CHILD_START_SECONDS = 60
# How long a process that is told to end waits for its job to be handed back; then the lease does.
HAND_BACK_TIMEOUT = timedelta(seconds=5)
# How soon a stand-in tries again to open its layer while the database is away.
REOPEN_PAUSE = timedelta(seconds=5)


def run_worker(
    systems: Sequence[System],
    *,
    settings: Settings | None = None,
    load_settings: Callable[[str], Settings] = Settings.load,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Work for these systems until told to stop; returns the exit status.

    SIGTERM and SIGINT hand running jobs back and end it. `settings` is what all systems share:
    the broker and the number of children. `on_ready` is called once it takes jobs.
    """
    shared = settings or Settings.load()
    intake.install()
    stop_reader, stop_writer = os.pipe()
    runtime = Runtime(systems, load_settings, stop_reader=stop_reader)
    app = create_celery(shared, systems, runtime)

    def begin_child(**_: object) -> None:
        # Only the parent may hold it open: its end is how the children learn of a stop.
        os.close(stop_writer)
        if getattr(current_process(), "index", 0) == 0:
            runtime.stand_in()

    def begin_stop(**_: object) -> None:
        os.close(stop_writer)

    def be_ready(**_: object) -> None:
        # Health must not miss us while the children open what renews it.
        asyncio.run(attendance.announce({each.name: load_settings(each.name) for each in systems}))
        if on_ready is not None:
            on_ready()

    signals.worker_ready.connect(be_ready, weak=False)
    signals.worker_process_init.connect(begin_child, weak=False)
    signals.worker_process_shutdown.connect(runtime.close, weak=False)
    signals.worker_shutting_down.connect(begin_stop, weak=False)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    worker = app.Worker(
        pool="prefork",
        concurrency=shared.worker_concurrency,
        loglevel=shared.log_level,
        quiet=True,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def create_celery(
    settings: Settings, systems: Sequence[System], runtime: "Runtime | None" = None
) -> Celery:
    """The Celery application with its one task. Connects to nothing."""
    here = runtime or Runtime(systems, Settings.load)
    app = Celery("bedplate", set_as_current=False)
    app.conf.update(
        broker_url=kombu_url(settings.redis()),
        broker_use_ssl=tls_options(settings.redis()),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport_options(settings.redis()),
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        task_queues=_queues(systems),
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker_concurrency,
        # Whoever reaches Redis could else shut workers down or change what they consume.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_proc_alive_timeout=CHILD_START_SECONDS,
    )

    def run_job(*arguments: object) -> None:
        here.run(*arguments)

    # Not shared: every other Celery application of this process would get the task, too.
    app.task(run_job, name=RUN_JOB, typing=False, shared=False)
    return app


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


def _queues(systems: Sequence[System]) -> tuple[Queue, ...]:
    """On the default exchange a queue's name is its address: no binding that Redis could lose."""
    names = {
        queue_name(system.name, queue)
        for system in systems
        for queue in {DEFAULT_QUEUE, *(task.queue for task in system.tasks)}
    }
    return tuple(
        Queue(name, Exchange(""), routing_key=name, no_declare=True) for name in sorted(names)
    )
