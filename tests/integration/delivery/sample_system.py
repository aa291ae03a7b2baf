"""A system whose tasks misbehave in every way that delivery must bear.

Its effects go into one table, by the fenced units of work of the job, so that a test counts what
was committed. `python -m tests.integration.delivery.sample_system` is its worker; with `relay` as
argument its relay, with `direct` its direct worker, in a process that can be killed.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy import MetaData, text

from bedplate.celery import run_worker
from bedplate.cli.direct import work_directly
from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.errors import LeaseLostError
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.unit_of_work import UnitOfWork

NAME = "sample"
# Short, so that a test sees a lost message within seconds.
DEADLINE = timedelta(seconds=1)

CREATE_EFFECTS = """
CREATE TABLE IF NOT EXISTS delivery_effects (
    job_id uuid NOT NULL,
    note text NOT NULL,
    pid integer NOT NULL
)
"""
INSERT_EFFECT = text(
    "INSERT INTO delivery_effects (job_id, note, pid) VALUES (:job_id, :note, :pid)"
)

COUNT_PRESENT = text("SELECT count(*) FROM delivery_effects WHERE note = 'here'")
ECHO = text("SELECT CAST(:text AS text)")


async def write(uow: UnitOfWork, job_id: UUID, note: str) -> None:
    """One effect, in the unit of work."""
    await uow.execute(INSERT_EFFECT, {"job_id": job_id, "note": note, "pid": os.getpid()})


@task(name="sample.note")
async def note(job: JobRun, what: str) -> None:
    """Write an effect in the transaction that ends the job."""
    async with job.finishing() as uow:
        await write(uow, job.id, what)


@task(name="sample.nothing")
async def nothing(job: JobRun) -> None:
    """Return without ending the job."""


@task(name="sample.fail", max_attempts=2)
async def fail(job: JobRun, message: str) -> None:
    """Write an effect, and fail before it is committed."""
    async with job.transaction() as uow:
        await write(uow, job.id, "never")
        raise ValueError(message)


@task(name="sample.wait_once")
async def wait_once(job: JobRun) -> None:
    """The first attempt commits a step and waits for ever; the second one ends the job."""
    if job.attempt == 1 and job.fence == 1:
        async with job.transaction() as uow:
            await write(uow, job.id, "begun")
        await asyncio.Event().wait()
    async with job.finishing() as uow:
        await write(uow, job.id, "done")


@task(name="sample.late")
async def late(job: JobRun, gate: str) -> None:
    """The first attempt blocks until the file is there, then tries to end the job all the same."""
    if job.fence == 1:
        _block_until(Path(gate))
    try:
        async with job.finishing() as uow:
            await write(uow, job.id, f"by fence {job.fence}")
    except (LeaseLostError, asyncio.CancelledError):
        # The fence refuses it, unless the heartbeat has noticed first and cancels it.
        _touch(Path(f"{gate}.refused"))
        raise


@task(name="sample.poison")
async def poison(job: JobRun) -> None:
    """Kill whatever runs it."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="sample.leave")
async def leave(job: JobRun) -> None:
    """The first attempt ends its process, as sys.exit in a library does."""
    if job.fence == 1:
        sys.exit(3)
    async with job.finishing() as uow:
        await write(uow, job.id, "done")


@task(name="sample.meet")
async def meet(job: JobRun, others: int) -> None:
    """Wait until `others` more of it run, then ask the database much and compare the answers."""
    async with job.transaction() as uow:
        await write(uow, job.id, "here")
    present = 0
    while present <= others:
        async with job.layer.reading() as session:
            present = await session.scalar(COUNT_PRESENT) or 0
    async with job.layer.reading() as session:
        for number in range(200):
            assert await session.scalar(ECHO, {"text": f"{job.id} {number}"}) == (
                f"{job.id} {number}"
            )
    async with job.finishing() as uow:
        await write(uow, job.id, "done")


# How many jobs of one group have been seen at the same time, in this process.
_inside: Counter[int] = Counter()
most_at_once = 0


@task(name="sample.alone")
async def alone(job: JobRun, group: int) -> None:
    """Say how many of its group run at the same time."""
    global most_at_once
    _inside[group] += 1
    most_at_once = max(most_at_once, _inside[group])
    async with job.finishing() as uow:
        await write(uow, job.id, "alone")
        _inside[group] -= 1


def _block_until(gate: Path) -> None:
    """Notice nothing meanwhile, not even that another worker has the job."""
    while not gate.exists():
        time.sleep(0.02)


def _touch(path: Path) -> None:
    path.touch()


def no_application(_layer: DataLayer) -> FastAPI:
    """It serves nothing."""
    return FastAPI()


SYSTEM = System(
    name=NAME,
    title="Sample",
    metadata=MetaData(),
    create_app=no_application,
    tasks=(note, nothing, fail, wait_once, late, poison, leave, meet, alone),
)


async def relay() -> None:
    """Deliver until killed."""
    settings = Settings.load(NAME)
    async with DataLayer(settings, name=NAME) as layer, Broker(settings.redis()) as broker:
        await Relay(layer, broker, deadline=DEADLINE).run()


if __name__ == "__main__":
    if sys.argv[1:] == ["relay"]:
        asyncio.run(relay())
    elif sys.argv[1:] == ["direct"]:
        from tests.integration.delivery.sample_system import SYSTEM as FOUND

        sys.exit(asyncio.run(work_directly([FOUND], concurrency=4)))
    else:
        # By its importable name, as a worker finds a system.
        from tests.integration.delivery.sample_system import SYSTEM as FOUND

        sys.exit(run_worker([FOUND]))
