"""The one connection by which a process hears its channels; it comes back by itself.

What is wanted is said by `want`, as often as one likes; the line asks the server for the
difference. A server that says nothing for three seconds is left, and tried again with growing
pauses. Made by `channels.py`, which is told of texts, of channels that are heard, and of the loss.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from bedplate.cache.connections import connect_listener
from bedplate.urls import redact

HEARTBEAT_SECONDS = 1.0
# Counted in beats, not by a clock: a process that was itself stopped has the answers waiting.
SILENT_BEATS = 3
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# A read without an end would use the connection's time-out for commands.
READ_SECONDS = 3600.0


class Line:
    """Connects at once. `confirmed`: which channels are heard; `why_lost`: None while it stands."""

    def __init__(
        self,
        url: str,
        told: Callable[[str, str], None],
        live: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        self.confirmed: set[str] = set()
        self.why_lost: str | None = None
        self._url = url
        self._told, self._live, self._lost = told, live, lost
        self._wanted: frozenset[str] = frozenset()
        self._has_changed = asyncio.Event()
        # What was asked and is not confirmed: of an end and a new beginning the last one counts.
        self._asked: Counter[str] = Counter()
        self._heard_count = 0
        self._task = asyncio.create_task(self._keep(), name="channels")

    def want(self, names: Iterable[str]) -> None:
        """From now on these channels, and no others."""
        self._wanted = frozenset(names)
        self._has_changed.set()

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _note_loss(self, why: str) -> None:
        is_news = self.why_lost is None
        self.why_lost = why
        self.confirmed.clear()
        self._asked.clear()
        if is_news:
            self._lost(why)

    async def _keep(self) -> None:
        failures = 0
        while True:
            connection = None
            try:
                connection = await connect_listener(self._url, failures)
                failures, self.why_lost = 0, None
                await self._use(connection)
            except (RedisError, OSError) as error:
                self._note_loss(redact(str(error)) or type(error).__name__)
            finally:
                if connection is not None:
                    await connection.disconnect(nowait=True)
            failures += 1
            await asyncio.sleep(_pause(failures))

    async def _use(self, connection: Connection) -> None:
        """Ask and listen, until one of the two fails."""
        both = {
            asyncio.create_task(self._listen(connection), name="channels listen"),
            asyncio.create_task(self._ask(connection), name="channels ask"),
        }
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _ask(self, connection: Connection) -> None:
        """Subscribe to what is wanted, end what is not, and see that the server is there."""
        held: set[str] = set()
        silent_beats = 0
        while True:
            self._has_changed.clear()
            wanted = set(self._wanted)
            if more := wanted - held:
                self._asked.update(more)
                await connection.send_command("SUBSCRIBE", *more, check_health=False)
            if fewer := held - wanted:
                self.confirmed -= fewer
                await connection.send_command("UNSUBSCRIBE", *fewer, check_health=False)
            held = wanted
            heard_before = self._heard_count
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._has_changed.wait()
            except TimeoutError:
                silent_beats = silent_beats + 1 if self._heard_count == heard_before else 0
                if silent_beats >= SILENT_BEATS:
                    raise ConnectionError("the server does not answer") from None
                await connection.send_command("PING", check_health=False)

    async def _listen(self, connection: Connection) -> None:
        while True:
            answer: Any = await connection.read_response(
                timeout=READ_SECONDS, disconnect_on_error=False
            )
            self._heard_count += 1
            if not isinstance(answer, list) or len(answer) != 3:
                continue
            what, name, text = answer
            if what == "message":
                self._told(name, text)
            elif what == "subscribe":
                self._asked[name] -= 1
                if not self._asked[name]:
                    self.confirmed.add(name)
                    self._live(name)


def _pause(failures: int) -> float:
    longest = min(FIRST_PAUSE_SECONDS * (1 << min(failures - 1, 10)), LONGEST_PAUSE_SECONDS)
    # So that processes do not come back all at once.
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
