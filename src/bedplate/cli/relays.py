"""One relay and one scheduler per system in this process, until SIGINT or SIGTERM.

Called by `relay`.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from datetime import timedelta

from bedplate.delivery.relay import run_relays
from bedplate.event_loop import settled_heap
from bedplate.jobs.scheduler import Scheduler
from bedplate.layer import DataLayer
from bedplate.migrations.readiness import SchemaReadiness, wait_until_current
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.system import load_system


async def relay_all(project: Project, *, patience: timedelta, on_ready: Callable[[], None]) -> None:
    """Deliver what every system's transactions committed, until a signal.

    Waits for databases that are being migrated; raises `PendingMigrationError` after `patience`.
    """
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, own.cancel if own else lambda: None)
    with contextlib.suppress(asyncio.CancelledError):
        async with contextlib.AsyncExitStack() as opened:
            entries = [entry for entry in project.systems if entry.target is not None]
            schemas = [
                SchemaReadiness(load_system(project, entry), Settings.load(entry.name))
                for entry in entries
            ]
            await wait_until_current(schemas, patience)
            layers = [
                await opened.enter_async_context(DataLayer(schema.settings, name=entry.name))
                for entry, schema in zip(entries, schemas, strict=True)
            ]
            opened.enter_context(settled_heap())
            async with asyncio.TaskGroup() as group:
                for entry, layer in zip(entries, layers, strict=True):
                    scheduler = Scheduler(layer, load_system(project, entry).tasks)
                    group.create_task(scheduler.run(), name=f"schedule {layer.name}")
                on_ready()
                group.create_task(run_relays(layers), name="relays")
