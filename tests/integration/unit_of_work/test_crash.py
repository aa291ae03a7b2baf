"""A process that ends around its COMMIT leaves all of the transaction, or none."""

import asyncio
import os
import subprocess
import sys

import pytest

from bedplate.failpoints import EXIT_STATUS, VARIABLE
from bedplate.settings import Settings
from tests.integration.unit_of_work.conftest import Outside

PROGRAM = """
import asyncio
from sqlalchemy import text
from bedplate import DataLayer, JobRun, task

@task(name="sample.remember")
async def remember(job: JobRun) -> None: ...

async def main():
    async with DataLayer.from_environment("librilabs") as layer, layer.transaction() as uow:
        await uow.execute(text("INSERT INTO uow_notes VALUES ('crash')"))
        uow.enqueue(remember)
        uow.invalidate("crash")

asyncio.run(main())
"""


@pytest.mark.fault(1, 3, holds="I1 I2 I3 I11", every_run=True)
@pytest.mark.parametrize(
    ("step", "left"), [("tx.before_commit", (0, 0, 0)), ("tx.after_commit", (1, 1, 1))]
)
async def test_fault_01_a_process_that_ends_at_its_commit_leaves_all_or_nothing(
    librilabs_settings: Settings, outside: Outside, step: str, left: tuple[int, int, int]
) -> None:
    """Before: the server rolls back. After: the job is there, though nobody was woken for it."""
    assert librilabs_settings.database_url is not None
    variables = {
        **os.environ,
        "LIBRILABS_DATABASE_URL": librilabs_settings.database_url.get_secret_value(),
        "BEDPLATE_APP_ROLE": librilabs_settings.serving_role(),
        VARIABLE: f"{step}=exit",
    }
    command = [sys.executable, "-c", PROGRAM]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == EXIT_STATUS, ended.stderr
    await outside.assert_quiet()
    assert await outside.counts() == left
