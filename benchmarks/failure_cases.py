"""How jobs and answers are lost by the usual ways, done to them and to bedplate, in one run.

    python -m benchmarks.failure_cases      (make demo-failures)

Real servers in a temporary folder, real kills; the peers as released, in an environment of their
own (`.venv-peers`). `lost_messages.py` is what Redis and workers lose, `lost_file.py` files.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import Depends, FastAPI
from redis import Redis
from sqlalchemy import text

from bedplate.delivery.broker import Broker
from bedplate.delivery.outbox import INVALIDATE, Message
from bedplate.delivery.relay import Relay
from bedplate.failpoints import VARIABLE
from bedplate.fastapi import DepUnitOfWork, Router, create_app
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from benchmarks import job_stand as stand
from benchmarks import lost_messages
from benchmarks.lost_messages import PEER

PATIENCE_SECONDS = 30.0
WRITERS = 8
EVENTS = 100

PREPARE = (
    "CREATE TABLE failure_rows (who text NOT NULL)",
    "CREATE TABLE failure_events (id bigint GENERATED ALWAYS AS IDENTITY, note text)",
    "CREATE TABLE failure_parents (id int PRIMARY KEY)",
    """
    CREATE TABLE failure_children (
        parent int REFERENCES failure_parents DEFERRABLE INITIALLY DEFERRED
    )
    """,
    "CREATE TABLE failure_books (id int PRIMARY KEY, title text NOT NULL)",
    "INSERT INTO failure_books SELECT number, 'old' FROM generate_series(0, 199) AS number",
    "GRANT ALL ON failure_rows, failure_parents, failure_children, failure_books TO PUBLIC",
)
READ_BOOK = text("SELECT title FROM failure_books WHERE id = :id")
RENAME_BOOK = text("UPDATE failure_books SET title = 'new' WHERE id = :id")
# The peer has those before.
BOOKS = range(100, 200)
ORPHAN = text("INSERT INTO failure_children VALUES (1)")


def main() -> None:
    """Run every case, print the table."""
    python = stand.peers_python()
    with tempfile.TemporaryDirectory() as folder, stand.servers(Path(folder)) as variables:
        rows = asyncio.run(cases(variables, python, Path(folder)))
    width = max(len(row[0]) for row in rows)
    for row in (("case", "theirs", "bedplate"), *rows):
        print(f"{row[0]:{width}}  {row[1]:34}  {row[2]}")


async def cases(
    variables: dict[str, str], python: Path, folder: Path
) -> list[tuple[str, str, str]]:
    """(case, theirs, ours), each."""
    settings = Settings.load(stand.NAME, variables)
    async with DataLayer(settings, name=stand.NAME) as layer:
        async with layer.owner_database.engine.begin() as owner:
            for statement in PREPARE:
                await owner.execute(text(statement))
        return [
            await lost_messages.killed_with_message(layer, variables, python),
            await lost_messages.redis_killed(layer, folder, python),
            await crash_after_commit(layer, variables, python),
            await relay_by_position(layer),
            await commit_after_answer(layer),
            await stale_copies(layer, variables, python),
        ]


async def crash_after_commit(
    layer: DataLayer, variables: dict[str, str], python: Path
) -> tuple[str, str, str]:
    """The process dies between COMMIT and what it would have sent."""
    redis = Redis.from_url(layer.settings.redis())
    redis.delete("celery")
    await asyncio.to_thread(
        stand.run, [python, PEER, "commit-then-send"], variables, is_killed=True
    )
    program = (
        "import asyncio, sys; sys.argv = ['x'];"
        "from benchmarks.failure_cases import die_after_commit; asyncio.run(die_after_commit())"
    )
    failing = {**variables, VARIABLE: "tx.after_commit=kill"}
    await asyncio.to_thread(stand.run, [sys.executable, "-c", program], failing, is_killed=True)
    async with layer.owner_database.engine.connect() as connection:
        rows = await connection.execute(text("SELECT who FROM failure_rows ORDER BY who"))
        committed = list(rows.scalars())
        jobs = await connection.scalar(
            text("SELECT count(*) FROM bedplate.jobs WHERE task = 'bench.stamp'")
        )
    assert committed == ["ours", "theirs"]
    case = "process killed between COMMIT and send (commit, then delay())"
    return case, f"row committed, {redis.llen('celery')} tasks", f"row committed, {jobs} job"


async def die_after_commit() -> None:
    """A row and a job, in a process that is killed right after their commit."""
    layer = DataLayer(Settings.load(stand.NAME), name=stand.NAME)
    async with layer, layer.transaction() as uow:
        await uow.execute(text("INSERT INTO failure_rows VALUES ('ours')"))
        uow.enqueue(stand.stamp)


async def relay_by_position(layer: DataLayer) -> tuple[str, str, str]:
    """Ids are taken before the commit: who reads on from the last one misses what commits late."""
    writers_done = asyncio.Event()
    seen: set[int] = set()

    async def poll(connection: Any) -> None:
        last = 0
        while True:
            is_last = writers_done.is_set()
            for row in await connection.fetch(
                "SELECT id FROM failure_events WHERE id > $1 ORDER BY id", last
            ):
                last = row["id"]
                seen.add(last)
            if is_last:
                return
            await asyncio.sleep(0)

    async def write() -> None:
        connection = await layer.owner_database.connect()
        for number in range(EVENTS):
            async with connection.transaction():
                await connection.execute("INSERT INTO failure_events DEFAULT VALUES")
                await asyncio.sleep(0.001 * (number % 3))
            async with layer.transaction() as uow:
                uow.invalidate(f"event:{number}")
        await connection.close()

    reader = await layer.owner_database.connect()
    polling = asyncio.create_task(poll(reader))
    told: set[UUID] = set()

    async def tell(_layer: DataLayer, messages: Sequence[Message]) -> None:
        told.update(message.id for message in messages)

    total = WRITERS * EVENTS
    async with Broker(layer.settings.redis()) as broker:
        relay = Relay(layer, broker, actions={INVALIDATE: tell})
        relaying = asyncio.create_task(relay.run())
        await asyncio.gather(*(write() for _ in range(WRITERS)))
        writers_done.set()
        await polling
        await reader.close()
        await stand.comes(lambda: len(told) == total, PATIENCE_SECONDS)
        relaying.cancel()
    case = "outbox read by `id > last_seen`"
    return (
        case,
        f"{total - len(seen)} of {total} events missed",
        f"{total - len(told)} of {total} events missed",
    )


async def commit_after_answer(layer: DataLayer) -> tuple[str, str, str]:
    """A COMMIT that fails, for a deferred constraint: what the client was told."""

    async def get_db() -> Any:
        async with layer.database.session() as session:
            yield session
            await session.commit()

    theirs = FastAPI()

    @theirs.post("/children")
    async def create_theirs(session: Annotated[Any, Depends(get_db)]) -> dict[str, bool]:
        await session.execute(ORPHAN)
        return {"ok": True}

    router = Router()

    @router.post("/children")
    async def create_ours(uow: DepUnitOfWork) -> dict[str, bool]:
        await uow.execute(ORPHAN)
        return {"ok": True}

    ours = create_app(layer)
    ours.include_router(router)
    answers = [await _ask(theirs), await _ask(ours)]
    async with layer.owner_database.engine.connect() as connection:
        rows = await connection.scalar(text("SELECT count(*) FROM failure_children"))
    case = "COMMIT fails (FastAPI dependency that commits after its yield)"
    return case, f"{answers[0]} answered, {rows} rows", f"{answers[1]} answered, {rows} rows"


async def stale_copies(
    layer: DataLayer, variables: dict[str, str], python: Path
) -> tuple[str, str, str]:
    """A row changes while somebody who has read it before fills the cache."""
    theirs = await asyncio.to_thread(_keep_stale_copies, variables, python)
    ours = sum([await _is_stale(layer, number) for number in BOOKS])
    case = "row changed while another fills the cache (commit, then delete(); cashews)"
    return (
        case,
        f"{theirs} of {len(BOOKS)} copies stale for an hour",
        f"{ours} of {len(BOOKS)} copies stale",
    )


def _keep_stale_copies(variables: dict[str, str], python: Path) -> int:
    command = [str(python), str(PEER), "stale-copies"]
    return int(subprocess.check_output(command, env={**os.environ, **variables}, text=True))


async def _is_stale(layer: DataLayer, number: int) -> bool:
    has_read, is_told = asyncio.Event(), asyncio.Event()
    key = f"failure:{number}"

    async def read() -> str:
        async with layer.reading() as session:
            return str(await session.scalar(READ_BOOK, {"id": number}))

    async def load() -> str:
        title = await read()
        has_read.set()
        await is_told.wait()
        return title

    reading = asyncio.create_task(layer.cache.get_or_load(key, load, ttl=timedelta(hours=1)))
    await has_read.wait()
    async with layer.transaction() as uow:
        await uow.execute(RENAME_BOOK, {"id": number})
        uow.invalidate(key)
    is_told.set()
    await reading
    return await layer.cache.get_or_load(key, load, ttl=timedelta(hours=1)) != await read()


async def _ask(app: FastAPI) -> int:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.post("/children")).status_code


if __name__ == "__main__":
    main()
