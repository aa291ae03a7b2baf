"""`bedplate run`: everything. Servers, migrations, seeds, then the API, the relay and the worker.

Stays until Ctrl-C, restarts what dies, and takes everything with it when it ends.
"""

import asyncio
import secrets
from datetime import timedelta

import click

from bedplate.cli.consent import require_consent
from bedplate.cli.interrupts import ended_by_signals
from bedplate.cli.options import Invocation, declare
from bedplate.cli.run_record import hold_record
from bedplate.cli.stack import attached, find_stand, stack_variables
from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import SettingsError


@declare("run", "Start everything: servers, migrations, seeds, API, relay, worker.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Of the API; another is taken when it is in use. [8000]",
)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to be ready.")
@click.option("--no-seed", is_flag=True, help="Create nothing in the databases.")
def command(invocation: Invocation, port: int | None, timeout: float, no_seed: bool) -> int:
    """Bring everything up, say where it is, and keep it up."""
    stand = find_stand(invocation)
    require_consent(invocation, stand, "migrate and seed")
    project, output = stand.project, invocation.output
    limit = timedelta(seconds=timeout)
    wanted = _read_port(invocation) if port is None else port
    with (
        hold_record(project.state) as record,
        ended_by_signals(),
        attached(invocation, stand, timeout=limit) as running,
    ):
        variables = stand.environment(stack_variables(project, running.state if running else None))
        if not stand.is_production:
            # Everything is managed and nobody gave a key: one for this run, marked as such.
            variables.setdefault(
                "BEDPLATE_SECRET_KEY", DEVELOPMENT_MARK + secrets.token_urlsafe(32)
            )
        # Heavy, and wanted only now: the servers have been starting meanwhile.
        from bedplate.cli import rollout
        from bedplate.cli.everything import Everything, open_listener

        asyncio.run(rollout.migrate_all(project, variables, output, patience=limit))
        if stand.is_production:
            output.note("production is not seeded by `run`; `bedplate seed --yes` does it")
        elif not no_seed:
            asyncio.run(rollout.seed_all(project, variables, output))
        with open_listener(wanted, output) as listener:
            everything = Everything(invocation, stand, running, variables, listener, record)
            return asyncio.run(everything.run(limit))


def _read_port(invocation: Invocation) -> int:
    raw = invocation.variables.get("BEDPLATE_PORT", "8000")
    if raw.isdecimal() and int(raw) < 65536:
        return int(raw)
    raise SettingsError(
        "BEDPLATE_PORT is no port", hint="Set it to a number below 65536.", variable="BEDPLATE_PORT"
    )
