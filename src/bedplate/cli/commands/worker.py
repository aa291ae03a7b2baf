"""`bedplate worker`: does the jobs of every system, in a Celery pool."""

import asyncio
import os
import warnings
from datetime import timedelta

import click

from bedplate.cli import lifeline
from bedplate.cli.child_process import begin, configure_logging
from bedplate.cli.options import MIGRATION_LIMIT, Invocation, declare


@declare("worker", "Do the jobs.")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Jobs at once.")
@MIGRATION_LIMIT
def command(invocation: Invocation, concurrency: int | None, timeout: float) -> int:
    """Run until a signal; jobs under way are finished, or handed back."""
    line = begin(invocation)
    if concurrency is not None:
        os.environ["BEDPLATE_WORKER_CONCURRENCY"] = str(concurrency)
    from celery.signals import worker_ready

    from bedplate.celery import run_worker
    from bedplate.migrations.readiness import SchemaReadiness, wait_until_current
    from bedplate.settings import Settings
    from bedplate.system import load_system

    settings = Settings.load()
    configure_logging(settings.log_level)
    # Celery warns root of pickle; we accept JSON only.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")
    worker_ready.connect(lambda **_: lifeline.say_ready(line), weak=False)
    project = invocation.project
    systems = [load_system(project, entry) for entry in project.systems if entry.target]
    schemas = [SchemaReadiness(system, Settings.load(system.name)) for system in systems]
    # Closed again before the pool forks.
    asyncio.run(wait_until_current(schemas, timedelta(seconds=timeout)))
    return run_worker(systems, settings=settings)
