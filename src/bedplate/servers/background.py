"""Work that takes time, done beside the supervisor's loop, one thing after the other.

The loop hands in a task and what to call with its outcome; the outcome is called in the loop's own
thread, so that only one thread ever touches the supervisor's state.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable

Task = Callable[[], None]
Then = Callable[[BaseException | None], None]


class Background:
    """One worker thread and the way back from it. `fileno` is readable when there is news."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._reader, self.writer = os.pipe()
        for descriptor in (self._reader, self.writer):
            os.set_blocking(descriptor, False)

    def start(self) -> None:
        """Begin to work. The thread ends with the process."""
        threading.Thread(target=self._work_off, daemon=True).start()

    def run(self, task: Task, then: Then) -> None:
        """Do `task` after what was handed in before, then call `then` with its error or None."""

        def work() -> None:
            error: BaseException | None = None
            try:
                task()
            except BaseException as caught:  # noqa: BLE001 - handed to `then`, which tells it
                error = caught
            self.tell(lambda: then(error))

        self._work.put(work)

    def tell(self, news: Task) -> None:
        """From any thread: call `news` in the loop."""
        self._news.put(news)
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer, b"\0")

    def deliver(self) -> None:
        """In the loop: call what there is to call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        while not self._news.empty():
            self._news.get()()

    def fileno(self) -> int:
        """For the loop's selector."""
        return self._reader

    def _work_off(self) -> None:
        while True:
            self._work.get()()
