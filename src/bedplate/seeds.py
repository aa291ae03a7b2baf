"""One system seeded by a command of its own: `python -m systems.shop.seeds`.

    if __name__ == "__main__":
        sys.exit(run("shop", seed))

The database is the one of the environment or `.env`; where none is named, the running embedded
stack's, by `bedplate seed`. Who names the system has agreed to it: nobody is asked.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

from bedplate.environment import read_environment
from bedplate.errors import BedplateError
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.unit_of_work import UnitOfWork

Seed = Callable[[UnitOfWork], Awaitable[Sequence[str]]]


def run(system: str, seed: Seed) -> int:
    """Seed in one transaction, as the schema's owner; print each line. Returns the exit status."""
    try:
        settings = Settings.load(system)
        if settings.database_url is None:
            return _by_command(system)
        lines = asyncio.run(_seed(settings, system, seed))
    except BedplateError as error:
        sys.stderr.write(f"✗ {error.message}\n  Try: {error.hint}\n")
        return error.exit_code
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


async def _seed(settings: Settings, system: str, seed: Seed) -> Sequence[str]:
    async with DataLayer(settings, name=system) as layer, layer.owner_transaction() as uow:
        return await seed(uow)


def _by_command(system: str) -> int:
    # A process of its own: what serves must not reach the embedded servers.
    command = [sys.executable, "-m", "bedplate.cli.main", "seed"]
    variables = {**os.environ, **read_environment(), "BEDPLATE_SYSTEMS": system}
    return subprocess.run(command, env=variables, check=False).returncode
