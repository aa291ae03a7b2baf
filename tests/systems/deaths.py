"""Workers that die in the middle of a job: killed with -9 in a process of their own, or silent."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping

from bedplate.jobs import ledger
from bedplate.layer import DataLayer
from tests.systems.conftest import Catalogue
from tests.texts import ROOT

# `killer` is code that has this process kill itself somewhere in the job.
WORK = """
import asyncio, os, signal, sys, uuid

from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Worker
from bedplate.layer import DataLayer
from systems.SYSTEM.app import system

async def work():
    async with DataLayer.from_environment(system.name) as layer:
        async with Worker(layer, layer.owner_database, registry_of(system.tasks)) as worker:
            await worker.run(uuid.UUID(sys.argv[1]))
"""


async def work_and_die(
    system: str, killer: str, variables: Mapping[str, str], job_id: str, *arguments: object
) -> int:
    """Run the job in such a process, with arguments from `sys.argv[2]` on: its exit status."""
    program = f"{WORK.replace('SYSTEM', system)}\n{killer}\nasyncio.run(work())\n"
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, job_id, *map(str, arguments)],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    return ran.returncode


async def bury(catalogue: Catalogue, layer: DataLayer) -> None:
    """Every job's last worker has gone silent, and the relay has found it."""
    await catalogue(
        "UPDATE bedplate.jobs SET state = 'running', worker = 'w:1', crashes = 2,"
        " lease_until = now() - interval '1 second'"
    )
    async with layer.owner_database.engine.begin() as connection:
        await ledger.rescue_expired(connection)
