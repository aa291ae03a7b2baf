"""The life of a serving process: its layers open before the first request and close after the last.

An application that is mounted in another has no life of its own (Starlette does not run its
lifespan): `root.py` opens its layer.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from typing import Any

from bedplate.event_loop import settled_heap
from bedplate.layer import DataLayer


def lifespan(*layers: DataLayer) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """A lifespan for `FastAPI(lifespan=…)` that opens these layers in order."""

    @asynccontextmanager
    async def open_layers(_app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            await _open(opened, layers)
            with settled_heap():
                yield

    return open_layers


async def _open(opened: AsyncExitStack, layers: Sequence[DataLayer]) -> None:
    for layer in layers:
        await opened.enter_async_context(layer)
