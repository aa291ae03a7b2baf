"""`bedplate worker`: does the jobs of every system, in a Celery pool or from PostgreSQL itself."""

import asyncio
import os
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from bedplate.cli import lifeline
from bedplate.cli.child_process import begin, configure_logging
from bedplate.cli.options import MIGRATION_LIMIT, Invocation, declare

if TYPE_CHECKING:
    from bedplate.system import System

# Jobs at once in one event loop: what the default pool has connections for.
DIRECT_CONCURRENCY = 10


@declare("worker", "Do the jobs.")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Jobs at once.")
@click.option(
    "--direct",
    "is_direct",
    is_flag=True,
    help="Take them from PostgreSQL, without Redis and Celery; so without REDIS_URL.",
)
@click.option(
    "--queue", "queues", multiple=True, metavar="NAME", help="Only of this queue; with --direct."
)
@MIGRATION_LIMIT
def command(
    invocation: Invocation,
    concurrency: int | None,
    is_direct: bool,
    queues: tuple[str, ...],
    timeout: float,
) -> int:
    """Run until a signal; jobs under way are handed back."""
    line = begin(invocation)
    if concurrency is not None:
        os.environ["BEDPLATE_WORKER_CONCURRENCY"] = str(concurrency)
    from bedplate.migrations.readiness import SchemaReadiness, wait_until_current
    from bedplate.settings import Settings
    from bedplate.system import load_system

    settings = Settings.load()
    works_directly = is_direct or settings.redis_url is None
    if queues and not works_directly:
        raise click.UsageError("--queue goes with --direct")
    configure_logging(settings.log_level)
    project = invocation.project
    systems = [load_system(project, entry) for entry in project.systems if entry.target]
    schemas = [SchemaReadiness(system, Settings.load(system.name)) for system in systems]
    # Closed again before the pool forks.
    asyncio.run(wait_until_current(schemas, timedelta(seconds=timeout)))

    def say_ready() -> None:
        lifeline.say_ready(line)

    if works_directly:
        return _work_directly(systems, concurrency or DIRECT_CONCURRENCY, queues, say_ready)
    from bedplate.celery import run_worker

    # Celery warns root of pickle; we accept JSON only.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")
    return run_worker(systems, settings=settings, on_ready=say_ready)


def _work_directly(
    systems: "Sequence[System]",
    concurrency: int,
    queues: tuple[str, ...],
    on_ready: Callable[[], None],
) -> int:
    from bedplate.cli.direct import work_directly
    from bedplate.event_loop import run

    return run(work_directly(systems, concurrency=concurrency, queues=queues, on_ready=on_ready))
