"""`bedplate prepare`: servers up to stay, migrated, seeded. Safe to repeat."""

import asyncio
from datetime import timedelta

import click

from bedplate.cli.consent import require_consent
from bedplate.cli.options import Invocation, declare
from bedplate.cli.stack import attached, find_stand, stack_variables


@declare("prepare", "Start, migrate and seed; safe to repeat.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds at most.")
def command(invocation: Invocation, timeout: float) -> None:
    """Do what is not done yet, and say what was."""
    stand = find_stand(invocation)
    require_consent(invocation, stand, "migrate and seed")
    limit = timedelta(seconds=timeout)
    with attached(invocation, stand, timeout=limit, detach=True) as running:
        variables = stand.environment(
            stack_variables(stand.project, running.state if running else None)
        )
        from bedplate.cli import rollout

        output, project = invocation.output, stand.project
        migrated = asyncio.run(rollout.migrate_all(project, variables, output, patience=limit))
        seeded = asyncio.run(rollout.seed_all(project, variables, output))
        invocation.output.result(
            {"migrated": migrated, "seeded": seeded},
            "prepared" if rollout.has_systems(project) else rollout.nothing_listed(project),
        )
