"""A writer of the soak: some clients with random actions, each noted before and after.

`python -m tests.faults.soak.writer SEED HISTORY`, with API_URL in the environment. SIGTERM lets the
actions that run end.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate import errors
from bedplate.files.file_store import NewFile
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from bedplate.unit_of_work import UnitOfWork
from tests.faults.sample_system import INSERT_ORDER, NAME, apply, cache_key, flaky, linger
from tests.faults.soak.history import End, HistoryFile

CLIENTS = 3
KEYS = 5
LARGEST_FILE_BYTES = 100_000
# A client that is refused comes back, and not at once.
PAUSE_SECONDS = 0.05

BUMP = text(
    "INSERT INTO soak_counters (key, value) VALUES (:key, 1)"
    " ON CONFLICT (key) DO UPDATE SET value = soak_counters.value + 1"
)
NOTE_BUMP = text("INSERT INTO soak_bumps (op, key) VALUES (:op, :key)")
READ_COUNTER = text("SELECT value FROM soak_counters WHERE key = :key")
DELETE_ORDER = text("DELETE FROM fault_orders WHERE id = :id")


def counter_key(key: int) -> str:
    """Under which a counter is cached."""
    return f"counter:{key}"


class Refusal(Exception):  # noqa: N818 - it is what a rolled-back action is told to raise
    """The application changes its mind."""


Action = Callable[[UUID], Awaitable[End]]


class Writer:
    """The clients of one process."""

    def __init__(self, layer: DataLayer, api: httpx.AsyncClient, history: HistoryFile, seed: int):
        self._layer = layer
        self._api = api
        self._history = history
        self._random = random.Random(seed)  # noqa: S311 - it is to be repeatable
        self._with_files: list[tuple[UUID, UUID]] = []
        self.is_stopping = False

    async def run(self) -> None:
        """Every client, until told to stop."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        actions: list[tuple[Action, int]] = [
            (self.place, 8),
            (self.over_the_api, 4),
            (self.bump, 4),
            (self.read_cached, 8),
            (self.delete, 3),
            (self.roll_back, 1),
            (self.savepoint, 2),
            (self.cancel, 2),
        ]
        while not self.is_stopping:
            ((action, _),) = self._random.choices(actions, [weight for _, weight in actions])
            await self._attempt(action)

    async def _attempt(self, action: Action) -> None:
        operation = new_id()
        self._history.begin(operation, action.__name__)
        try:
            end, error = await action(operation), ""
        except Exception as raised:  # noqa: BLE001 - whatever it is, the client was told it
            end, error = _end_of(raised), f"{type(raised).__name__}: {raised}"[:300]
        self._history.end(operation, end, error)
        if end is not End.ACKNOWLEDGED:
            await asyncio.sleep(PAUSE_SECONDS)

    async def place(self, operation: UUID) -> End:
        """An order with a job, an invalidation and perhaps a file."""
        async with self._layer.transaction() as uow:
            file_id = await self._place(uow, operation)
        if file_id is not None:
            self._with_files.append((operation, file_id))
        return End.ACKNOWLEDGED

    async def over_the_api(self, operation: UUID) -> End:
        """The same by HTTP: 2xx means committed, all else not, or it says so."""
        order: dict[str, str] = {"note": str(operation), "id": str(operation)}
        if self._random.random() < 0.3:
            order["data"] = "x" * self._random.randrange(1, LARGEST_FILE_BYTES)
        try:
            answer = await self._api.post("/orders", json=order)
        except httpx.HTTPError:
            return End.UNKNOWN
        if answer.is_success:
            return End.ACKNOWLEDGED
        self._history.note(operation, status=answer.status_code, answer=answer.text[:300])
        return End.UNKNOWN if "unknown" in answer.text else End.FAILED

    async def bump(self, operation: UUID) -> End:
        """Two counters in any order, so that clients meet in deadlocks, and a row for each."""
        async with self._layer.transaction() as uow:
            for key in self._random.sample(range(KEYS), 2):
                await uow.execute(BUMP, {"key": key})
                await uow.execute(NOTE_BUMP, {"op": operation, "key": key})
                uow.invalidate(counter_key(key))
        return End.ACKNOWLEDGED

    async def read_cached(self, _operation: UUID) -> End:
        """A counter through the cache, which others change meanwhile."""
        key = self._random.randrange(KEYS)

        async def read(session: AsyncSession) -> int:
            return await session.scalar(READ_COUNTER, {"key": key}) or 0

        await self._layer.cache.get_or_read(counter_key(key), read, ttl=timedelta(minutes=5))
        return End.ACKNOWLEDGED

    async def delete(self, operation: UUID) -> End:
        """An order of ours with its file."""
        if not self._with_files:
            return await self.place(operation)
        order_id, file_id = self._with_files.pop(self._random.randrange(len(self._with_files)))
        self._history.note(operation, deletes=order_id)
        async with self._layer.transaction() as uow:
            await uow.execute(DELETE_ORDER, {"id": order_id})
            await uow.delete_file(file_id)
        return End.ACKNOWLEDGED

    async def roll_back(self, operation: UUID) -> End:
        """Everything is done, and then the application raises."""
        with contextlib.suppress(Refusal):
            async with self._layer.transaction() as uow:
                await self._place(uow, operation)
                raise Refusal
        return End.FAILED

    async def savepoint(self, operation: UUID) -> End:
        """A part fails alone; the rest commits."""
        inner = new_id()
        async with self._layer.transaction() as uow:
            await self._place(uow, operation)
            self._history.note(operation, never=inner)
            with contextlib.suppress(Refusal):
                async with uow.savepoint():
                    await self._place(uow, inner, is_noted=False)
                    raise Refusal
        return End.ACKNOWLEDGED

    async def cancel(self, operation: UUID) -> End:
        """The client gives up in the middle: what became of it, it cannot know."""
        placing = asyncio.create_task(self.place(operation))
        await asyncio.sleep(self._random.uniform(0, 0.03))
        placing.cancel()
        try:
            return await placing
        except asyncio.CancelledError:
            return End.UNKNOWN

    async def _place(self, uow: UnitOfWork, order: UUID, *, is_noted: bool = True) -> UUID | None:
        chance = self._random.random()
        job_id = uow.enqueue(
            linger if chance < 0.2 else flaky if chance < 0.3 else apply, str(order)
        )
        file_id = None
        if self._random.random() < 0.3:
            data = self._random.randbytes(self._random.randrange(1, LARGEST_FILE_BYTES))
            file_id = (await uow.store_file(data, NewFile(f"{order}.bin"))).id
            if is_noted:
                sha256 = hashlib.sha256(data).hexdigest()
                self._history.note(order, file=file_id, sha256=sha256)
        if is_noted:
            self._history.note(order, job=job_id)
        uow.invalidate(cache_key(order))
        values = {"id": order, "note": str(order), "job_id": job_id, "file_id": file_id}
        await uow.execute(INSERT_ORDER, values)
        return file_id


def _end_of(error: Exception) -> End:
    """An error means that nothing was committed, unless it says otherwise."""
    is_unknown = type(error).__name__ == "CommitUnknownError" or (
        isinstance(error, errors.DatabaseUnreachableError)
        and error.data.get("reason") == "commit_unanswered"
    )
    return End.UNKNOWN if is_unknown else End.FAILED


async def main(seed: int, history: Path) -> None:
    """Write until SIGTERM."""
    async with (
        DataLayer(Settings.load(NAME), name=NAME) as layer,
        httpx.AsyncClient(base_url=os.environ["API_URL"], timeout=30) as api,
    ):
        writer = Writer(layer, api, HistoryFile(history), seed)

        def stop() -> None:
            writer.is_stopping = True

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        sys.stdout.write("writing\n")
        sys.stdout.flush()
        await writer.run()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
