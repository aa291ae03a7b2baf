"""One relay per system in this process, until SIGINT or SIGTERM. Called by `relay`."""

import asyncio
import contextlib
import signal
from collections.abc import Callable

from bedplate.delivery.relay import run_relays
from bedplate.layer import DataLayer
from bedplate.project import Project
from bedplate.settings import Settings


async def relay_all(project: Project, *, on_ready: Callable[[], None]) -> None:
    """Deliver what every system's transactions committed, until a signal."""
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, own.cancel if own else lambda: None)
    with contextlib.suppress(asyncio.CancelledError):
        async with contextlib.AsyncExitStack() as opened:
            layers = [
                await opened.enter_async_context(
                    DataLayer(Settings.load(entry.name), name=entry.name)
                )
                for entry in project.systems
                if entry.target is not None
            ]
            on_ready()
            await run_relays(layers)
