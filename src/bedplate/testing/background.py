"""An event loop in a thread, for what outlives a test: pytest's loops end with each test.

A connection belongs to the loop that made it. The one that resets a database after every test
stays open for the whole run, so it lives here.
"""

import asyncio
import threading
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Self, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for synchronous callers. `open` and `close` it, or `with`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> Self:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="bedplate-testing", daemon=True
        )
        self._thread.start()
        return self

    def run(
        self, work: Coroutine[Any, Any, T], *, timeout: timedelta = timedelta(seconds=120)
    ) -> T:
        """The result of `work`, which runs in the thread; its exception is raised here."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the background loop is not open")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout.total_seconds())

    def close(self) -> None:
        """Stop the thread and close the loop."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_error: object) -> None:
        self.close()
