"""`python -m tests.faults.soak --minutes 10 --seed N`: does it hold when everything dies?

Starts real servers, an API, two relays, two workers and the writers; makes faults by the seed;
heals, comes to rest, and holds the history against what is there. Exit status 1 with a violation,
whose seed is printed.
"""

import argparse
import asyncio
import contextlib
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from bedplate.layer import DataLayer
from tests.faults.processes import Processes
from tests.faults.rest import at_rest, until
from tests.faults.sample_system import NAME
from tests.faults.soak.crew import Crew
from tests.faults.soak.history import read_histories
from tests.faults.soak.servers import Servers, open_servers, prepare
from tests.faults.soak.trouble import Trouble
from tests.faults.soak.verdict import Verdict, judge

# Retries back off, and a server that died often is started again late.
REST_WITHIN = timedelta(minutes=4)
SHOWN = 30
UPLOADS = text("SELECT count(*) = 0 FROM bedplate.stored_files WHERE state = 'pending'")


async def soak(servers: Servers, folder: Path, *, minutes: float, seed: int, writers: int) -> int:
    """One run; the exit status."""
    chance = random.Random(seed)  # noqa: S311 - it is to be repeatable
    await prepare(servers)
    processes = Processes(folder, servers.proxied)
    crew = Crew(processes, folder, writers=writers, chance=chance)
    trouble = Trouble(servers, crew, chance)
    started = time.monotonic()
    try:
        await crew.start()
        keeping = asyncio.create_task(crew.keep())
        troubling = asyncio.create_task(trouble.run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(minutes * 60):
                # Either of them ends only by an error of its own.
                await asyncio.wait({keeping, troubling}, return_when=asyncio.FIRST_COMPLETED)
        for task in (troubling, keeping):
            task.cancel()
        for ended in await asyncio.gather(troubling, keeping, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        faulty = timedelta(seconds=time.monotonic() - started)
        verdict, resting = await _come_to_rest(servers, crew, trouble)
    finally:
        for child in processes.started:
            child.kill()
    _print(verdict, trouble.done, crew, faulty=faulty, resting=resting, seed=seed)
    return 1 if verdict.violations else 0


async def _come_to_rest(
    servers: Servers, crew: Crew, trouble: Trouble
) -> tuple[Verdict, timedelta]:
    started = time.monotonic()
    await trouble.heal()
    crew.replace()
    await crew.end_writers()
    # Whoever was killed just now is needed for the rest, too.
    keeping = asyncio.create_task(crew.keep())
    async with DataLayer(servers.settings(), name=NAME) as layer:
        await at_rest(layer, patience=REST_WITHIN)

        async def uploads_are_swept() -> bool:
            async with layer.reading() as session:
                return bool(await session.scalar(UPLOADS))

        await until(uploads_are_swept, "no upload is pending", patience=REST_WITHIN)
        await at_rest(layer, patience=REST_WITHIN)
        resting = timedelta(seconds=time.monotonic() - started)
        keeping.cancel()
        return await judge(layer, read_histories(crew.histories())), resting


def _print(
    verdict: Verdict,
    faults: Counter[str],
    crew: Crew,
    *,
    faulty: timedelta,
    resting: timedelta,
    seed: int,
) -> None:
    operations = verdict.ends.total()
    lines = [
        f"seed {seed}, faults for {faulty.seconds} s, at rest {resting.seconds} s after",
        f"history    {verdict.lines} lines, {operations} operations: {_counts(verdict.kinds)}",
        f"commits    {_counts(verdict.ends)}; unknown but there: {verdict.unknown_committed}",
        f"jobs       {verdict.jobs.total()}: {_counts(verdict.jobs)}; {verdict.effects} effects",
        f"files      {verdict.files.total()}: {_counts(verdict.files)}",
        f"faults     {faults.total()}: {_counts(faults)}; {crew.restarts} processes replaced",
        f"violations {len(verdict.violations)}",
        *verdict.violations[:SHOWN],
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def main() -> int:
    """Read the arguments; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and history")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="bedplate-soak-"))
    sys.stdout.write(f"soak: seed {seed}, {arguments.minutes:g} minutes, in {folder}\n")
    sys.stdout.flush()
    status = 1
    try:
        with open_servers(folder / "state") as servers:
            status = asyncio.run(
                soak(
                    servers, folder, minutes=arguments.minutes, seed=seed, writers=arguments.writers
                )
            )
    except BaseException:
        sys.stdout.write(f"soak failed: seed {seed}\n")
        raise
    finally:
        if status == 0 and not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
