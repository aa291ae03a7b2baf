"""The direct workers of every system in this process, until a signal. Called by `worker`."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Collection, Sequence

from bedplate.errors import ProjectError
from bedplate.jobs.direct import DirectWorker, Room
from bedplate.jobs.scheduler import Scheduler
from bedplate.jobs.tasks import DEFAULT_QUEUE, registry_of
from bedplate.jobs.worker import ProcessExitError, Worker
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System

log = logging.getLogger("bedplate.jobs.direct")


async def work_directly(
    systems: Sequence[System],
    *,
    concurrency: int,
    queues: Collection[str] = (),
    load_settings: Callable[[str], Settings] = Settings.load,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Do the jobs of these systems until SIGINT or SIGTERM; returns the exit status.

    `queues`: of these alone. Raises `ProjectError` when no system has such a queue.
    """
    room = Room(concurrency)
    async with contextlib.AsyncExitStack() as opened:
        workers: list[DirectWorker] = []
        schedulers: list[Scheduler] = []
        for system in systems:
            served = _queues_of(system, queues)
            if not served:
                continue
            settings = load_settings(system.name)
            layer = await opened.enter_async_context(DataLayer(settings, name=system.name))
            worker = await opened.enter_async_context(
                Worker(layer, layer.owner_database, registry_of(system.tasks), lease=settings.lease)
            )
            _warn_of_pool(settings, concurrency)
            workers.append(DirectWorker(layer, worker, served, room))
            schedulers.append(Scheduler(layer, system.tasks))
        if not workers:
            raise ProjectError(f"no system has a queue {' or '.join(sorted(queues))}")
        on_ready()
        return await _work(workers, schedulers)


async def _work(workers: list[DirectWorker], schedulers: list[Scheduler]) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for worker in workers:
            worker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    ticking = [asyncio.create_task(each.run()) for each in schedulers]
    running = [asyncio.create_task(each.run()) for each in workers]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        # One that ended by itself takes the others along: whoever started us starts all again.
        stop()
        ended = await asyncio.gather(*running, return_exceptions=True)
    finally:
        for each in ticking:
            each.cancel()
        await asyncio.gather(*ticking, return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException) and not isinstance(error, ProcessExitError):
            raise error
    return 1 if any(ended) else 0


def _queues_of(system: System, wanted: Collection[str]) -> list[str]:
    known = {DEFAULT_QUEUE, *(task.queue for task in system.tasks)}
    return sorted(known & set(wanted) if wanted else known)


def _warn_of_pool(settings: Settings, concurrency: int) -> None:
    most = settings.pool_size + settings.max_overflow
    if concurrency > most:
        log.warning(
            "More jobs at once than connections of the pool: jobs may wait for one, and fail",
            extra={"concurrency": concurrency, "connections": most},
        )
