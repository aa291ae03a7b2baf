"""Servers, processes and a system of one's own for benchmarks of jobs.

`python -m benchmarks.job_stand relay|worker|direct` is each process of the system.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop
from fastapi import FastAPI
from sqlalchemy import MetaData

from bedplate.celery import run_worker
from bedplate.cli.direct import work_directly
from bedplate.delivery.relay import run_relays
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import upgrade
from bedplate.project import Project, SystemEntry
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.settings import Settings
from bedplate.system import System

NAME = "bench"
DONE = "bench:done"
NOTES = "bench:notes"
AT_ONCE = 2
ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = (
    "celery==5.7.0",
    "redis==8.1.0",
    "procrastinate==3.10.0",
    "psycopg[binary,pool]==3.3.9",
    "pgqueuer[asyncpg]==1.6.0",
    "cashews[redis]==7.6.0",
)


@task(name="bench.stamp")
async def stamp(job: JobRun) -> None:
    """Say when it began."""
    await job.layer.redis.client().rpush(DONE, time.time())


@task(name="bench.hold")
async def hold(job: JobRun) -> None:
    """Say who has it; the first attempt never ends."""
    await job.layer.redis.client().rpush(DONE, f"{os.getpid()} {time.time()}")
    if job.attempt == 1:
        await asyncio.Event().wait()


@task(name="bench.note")
async def note(job: JobRun, tag: str) -> None:
    """Say which it was."""
    await job.layer.redis.client().rpush(NOTES, tag)


SYSTEM = System(NAME, "Bench", MetaData(), lambda _layer: FastAPI(), tasks=(stamp, hold, note))


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL and Valkey of our own, durable as in production, with the layer's schema."""
    entry = SystemEntry(NAME, None, NAME, NAME, "unused")
    project = Project(root=folder, systems=(entry,), state=folder / "state")
    with client.attach(project, StackOptions()) as stack:
        variables = {
            **stack.state.environment(project.systems),
            "BEDPLATE_ENV": "test",
            "BEDPLATE_WORKER_CONCURRENCY": str(AT_ONCE),
            "BEDPLATE_POOL_SIZE": "32",
        }
        asyncio.run(upgrade(SYSTEM, Settings.load(NAME, variables)))
        yield variables


@contextmanager
def process(
    command: Sequence[object], variables: dict[str, str]
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process in a group of its own, which is gone at the end."""
    started = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        kill(started)


def kill(started: "subprocess.Popen[bytes]") -> None:
    """kill -9, with its children; nothing when it has ended."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def run(command: Sequence[object], variables: dict[str, str], *, is_killed: bool = False) -> None:
    """A program to its end, which must be a death when it is to be killed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env={**os.environ, **variables}, check=False
    )
    assert (done.returncode != 0) == is_killed, done.returncode


async def comes(look: Callable[[], bool], patience: float) -> bool:
    """Whether something comes to hold within seconds."""
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def ours(role: str) -> list[str]:
    """The command of one of our processes."""
    return [sys.executable, "-m", "benchmarks.job_stand", role]


def peers_python() -> Path:
    """The Python of the peers' environment, which is made when it is not there, or another one."""
    python, made = PEERS / "bin" / "python", PEERS / "packages"
    wanted = "\n".join(PEER_PACKAGES)
    if not made.exists() or made.read_text() != wanted:
        print("Making an environment for the other systems …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", PEERS], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *PEER_PACKAGES], check=True)
        made.write_text(wanted)
    return python


async def _relay() -> None:
    async with DataLayer(Settings.load(NAME), name=NAME) as layer:
        await run_relays([layer])


def be(role: str) -> int:
    """One of our processes, until it is told to stop."""
    if role == "worker":
        return run_worker([SYSTEM], settings=Settings.load(NAME))
    if role == "direct":
        return uvloop.run(work_directly([SYSTEM], concurrency=20))
    uvloop.run(_relay())
    return 0


if __name__ == "__main__":
    # By its importable name, as a worker finds a system.
    from benchmarks import job_stand

    sys.exit(job_stand.be(sys.argv[1]))
