"""A small system for faults: orders that hold a row, a job, a cache key and a file each.

`python -m tests.faults.sample_system api|relay|worker|direct` is each of its processes. What a job
does is one row of `fault_effects`, by its fenced unit of work, so that a test counts what was
committed.
"""

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import psutil
import uvicorn
from fastapi import Body, FastAPI
from sqlalchemy import MetaData, text

from bedplate.celery import run_worker
from bedplate.cli.direct import work_directly
from bedplate.delivery.broker import Broker
from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.delivery.relay import Relay
from bedplate.errors import NotFoundError
from bedplate.fastapi import DepLayer, DepUnitOfWork, Router, create_app
from bedplate.files.file_store import NewFile
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.unit_of_work import UnitOfWork

NAME = "faults"
# Short, so that a test sees a lost message, and a lost worker, within seconds.
DEADLINE = timedelta(seconds=1)
LEASE_SECONDS = "2"
# What a task that asks for four times as much is left.
MEMORY_BYTES = 64 * 1024 * 1024

CREATE_TABLES = (
    """
    CREATE TABLE fault_orders (
        id uuid PRIMARY KEY,
        note text NOT NULL,
        job_id uuid,
        file_id uuid
    )
    """,
    """
    CREATE TABLE fault_effects (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job_id uuid NOT NULL,
        note text NOT NULL,
        pid integer NOT NULL
    )
    """,
)
INSERT_ORDER = text(
    "INSERT INTO fault_orders (id, note, job_id, file_id) VALUES (:id, :note, :job_id, :file_id)"
)
INSERT_EFFECT = text("INSERT INTO fault_effects (job_id, note, pid) VALUES (:job_id, :note, :pid)")
READ_ORDER = text("SELECT note FROM fault_orders WHERE id = :id")

router = Router()


async def write_effect(uow: UnitOfWork, job_id: UUID, note: str) -> None:
    """One effect, in the unit of work."""
    await uow.execute(INSERT_EFFECT, {"job_id": job_id, "note": note, "pid": os.getpid()})


@task(name="faults.apply")
async def apply(job: JobRun, what: str) -> None:
    """Write an effect in the transaction that ends the job."""
    async with job.finishing() as uow:
        await write_effect(uow, job.id, what)


@task(name="faults.flaky")
async def flaky(job: JobRun, what: str) -> None:
    """Fail once, after an effect that must not stay; then write it."""
    if job.attempt == 1:
        async with job.transaction() as uow:
            await write_effect(uow, job.id, "never")
            raise ValueError("the first time it fails")
    async with job.finishing() as uow:
        await write_effect(uow, job.id, what)


@task(name="faults.linger")
async def linger(job: JobRun, what: str) -> None:
    """Have an effect for a while before it commits, so that a kill comes in between."""
    async with job.finishing() as uow:
        await write_effect(uow, job.id, what)
        await asyncio.sleep(0.2)


@task(name="faults.wait_once")
async def wait_once(job: JobRun, what: str) -> None:
    """The first attempt commits a step and waits for ever; another one ends the job."""
    if job.fence == 1:
        async with job.transaction() as uow:
            await write_effect(uow, job.id, "begun")
        await asyncio.Event().wait()
    async with job.finishing() as uow:
        await write_effect(uow, job.id, what)


@task(name="faults.hold")
async def hold(job: JobRun, gate: str) -> None:
    """Have an uncommitted effect until the file is there, then end the job."""
    async with job.finishing() as uow:
        await write_effect(uow, job.id, "held")
        _touch(Path(f"{gate}.{job.fence}.begun"))
        await asyncio.to_thread(_block_until, Path(gate))


@task(name="faults.block")
async def block(job: JobRun, gate: str) -> None:
    """Block the event loop until the file is there, as a careless library does."""
    _block_until(Path(gate))
    async with job.finishing() as uow:
        await write_effect(uow, job.id, f"by fence {job.fence}")


@task(name="faults.fail", max_attempts=2)
async def fail(job: JobRun, message: str) -> None:
    """Write an effect, and fail before it is committed."""
    async with job.transaction() as uow:
        await write_effect(uow, job.id, "never")
        raise ValueError(message)


@task(name="faults.poison")
async def poison(job: JobRun) -> None:
    """Kill whatever runs it."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="faults.hog", max_attempts=2)
async def hog(job: JobRun) -> None:
    """Ask for more memory than the process may have."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    own = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY_BYTES, limits[1]))
    try:
        bytearray(4 * MEMORY_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


async def place_order(
    uow: UnitOfWork, note: str, *, data: bytes | None = None, order_id: UUID | None = None
) -> UUID:
    """All four in one: a row, a job, an invalidation and, with `data`, a file."""
    order_id = order_id or new_id()
    file = None
    if data is not None:
        file = await uow.store_file(data, NewFile(f"{note[:40]}.bin"))
    job_id = uow.enqueue(apply, note)
    uow.invalidate(cache_key(order_id))
    values = {"id": order_id, "note": note, "job_id": job_id, "file_id": file and file.id}
    await uow.execute(INSERT_ORDER, values)
    return order_id


def cache_key(order_id: UUID) -> str:
    """The key under which an order is cached."""
    return f"order:{order_id}"


@router.post("/orders", status_code=201)
async def create(
    uow: DepUnitOfWork,
    note: Annotated[str, Body(embed=True)],
    data: Annotated[str | None, Body(embed=True)] = None,
    order_id: Annotated[UUID | None, Body(embed=True, alias="id")] = None,
) -> dict[str, str]:
    """Place an order; its id may be the client's, which then knows what to look for."""
    content = None if data is None else data.encode()
    order_id = await place_order(uow, note, data=content, order_id=order_id)
    return {"id": str(order_id)}


@router.get("/orders/{order_id}")
async def read(order_id: UUID, layer: DepLayer) -> dict[str, str]:
    """An order's note."""
    async with layer.reading() as session:
        note = await session.scalar(READ_ORDER, {"id": order_id})
    if note is None:
        raise NotFoundError(f"there is no order {order_id}")
    return {"id": str(order_id), "note": note}


def create_application(layer: DataLayer) -> FastAPI:
    """The API."""
    app = create_app(layer)
    app.include_router(router)
    return app


SYSTEM = System(
    name=NAME,
    title="Faults",
    metadata=MetaData(),
    create_app=create_application,
    tasks=(apply, flaky, linger, wait_once, hold, block, fail, poison, hog),
)


def _block_until(gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.01)


def _touch(path: Path) -> None:
    path.touch()


async def relay() -> None:
    """Deliver and sweep until killed."""
    settings = Settings.load(NAME)
    async with (
        DataLayer(settings, name=NAME) as layer,
        Broker(settings.redis()) as broker,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(Relay(layer, broker, deadline=DEADLINE).run())
        if settings.has_files:
            group.create_task(FileSweeper(layer).run())
        _say("relaying")


def serve(port: int = 0) -> None:
    """Serve until told to stop; says on which port."""
    layer = DataLayer(Settings.load(NAME), name=NAME)
    door = socket.create_server(("127.0.0.1", port))

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _say(f"serving on {door.getsockname()[1]}")

    Announcing(uvicorn.Config(create_application(layer), log_level="warning")).run([door])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "api":
        serve(*map(int, sys.argv[2:]))
    elif what == "relay":
        asyncio.run(relay())
    else:
        # By its importable name, as a worker finds a system.
        from tests.faults.sample_system import SYSTEM as FOUND

        if what == "direct":
            sys.exit(asyncio.run(work_directly([FOUND], concurrency=4)))
        sys.exit(run_worker([FOUND]))
