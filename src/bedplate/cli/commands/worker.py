"""`bedplate worker`: does the jobs of every system, in a Celery pool."""

import os
import warnings

import click

from bedplate.cli import lifeline
from bedplate.cli.child_process import begin, configure_logging
from bedplate.cli.options import Invocation, declare


@declare("worker", "Do the jobs.")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Jobs at once.")
def command(invocation: Invocation, concurrency: int | None) -> int:
    """Run until a signal; jobs under way are finished, or handed back."""
    line = begin(invocation)
    if concurrency is not None:
        os.environ["BEDPLATE_WORKER_CONCURRENCY"] = str(concurrency)
    from celery.signals import worker_ready

    from bedplate.celery import run_worker
    from bedplate.settings import Settings
    from bedplate.system import load_system

    settings = Settings.load()
    configure_logging(settings.log_level)
    # Celery warns root of pickle; we accept JSON only.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")
    worker_ready.connect(lambda **_: lifeline.say_ready(line), weak=False)
    project = invocation.project
    systems = [load_system(project, entry) for entry in project.systems if entry.target]
    return run_worker(systems, settings=settings)
