"""The direct workers of every system in this process, until a signal. Called by `worker`."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Collection, Sequence

from bedplate.delivery.broker import Broker
from bedplate.delivery.job_sweeper import JobSweeper
from bedplate.delivery.stand_in import StandIn
from bedplate.errors import ProjectError
from bedplate.event_loop import settled_heap
from bedplate.jobs.direct import DirectWorker, Room
from bedplate.jobs.scheduler import Scheduler
from bedplate.jobs.tasks import DEFAULT_QUEUE, registry_of
from bedplate.jobs.worker import ProcessExitError, Worker
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System

Duty = Scheduler | JobSweeper | StandIn

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
        duties: list[Duty] = []
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
            duties += [
                Scheduler(layer, system.tasks),
                JobSweeper(layer),
                await _stand_in(opened, layer),
            ]
        if not workers:
            raise ProjectError(f"no system has a queue {' or '.join(sorted(queues))}")
        opened.enter_context(settled_heap())
        on_ready()
        return await _work(workers, duties)


async def _stand_in(opened: contextlib.AsyncExitStack, layer: DataLayer) -> StandIn:
    """What tells other servers while no relay runs."""
    url = layer.settings.redis_url
    broker = (
        None if url is None else await opened.enter_async_context(Broker(layer.settings.redis()))
    )
    return StandIn(layer, broker)


async def _work(workers: list[DirectWorker], duties: list[Duty]) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for worker in workers:
            worker.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    serving = [asyncio.create_task(each.run()) for each in duties]
    running = [asyncio.create_task(each.run()) for each in workers]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        # One that ended by itself takes the others along: whoever started us starts all again.
        stop()
        ended = await asyncio.gather(*running, return_exceptions=True)
    finally:
        for each in serving:
            each.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
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
