"""`bedplate migrate`: every system's database to its newest revision; `status`, `down`, `new`.

Alembic's own words work beside it, unchanged, in a system's folder (`alembic upgrade head`).
"""

import asyncio
from datetime import timedelta
from typing import Any

import click

from bedplate.cli.consent import require_consent, require_loss_agreed
from bedplate.cli.options import CONTEXT, Invocation, declare, global_options, named
from bedplate.cli.output import table
from bedplate.cli.stack import find_stand, find_state, stack_variables
from bedplate.cli.stand import Stand

NOT_READY = 3
LOCK_LIMIT = click.option(
    "--timeout",
    type=float,
    default=300.0,
    show_default=True,
    help="Seconds to wait for another process that migrates.",
)


@click.group(
    "migrate",
    invoke_without_command=True,
    context_settings=CONTEXT,
    help="Bring every system's database to the newest revision.",
)
@global_options()
@LOCK_LIMIT
@click.pass_context
def command(context: click.Context, timeout: float) -> None:
    """Apply what is missing, unless a subcommand was called."""
    if context.invoked_subcommand is None:
        named("migrate", _apply)(timeout)


def _apply(invocation: Invocation, timeout: float) -> None:
    stand, variables = _open(invocation)
    require_consent(invocation, stand, "migrate")
    from bedplate.cli import rollout

    limit = timedelta(seconds=timeout)
    done = asyncio.run(
        rollout.migrate_all(stand.project, variables, invocation.output, patience=limit)
    )
    text = [] if rollout.has_systems(stand.project) else rollout.nothing_listed(stand.project)
    invocation.output.result({"systems": done}, text)


@declare("migrate status", "Show what is applied and what is pending; exit status 3 if any is.")
def status_command(invocation: Invocation) -> int:
    """Compare each database with the revisions in the code. Changes nothing."""
    stand, variables = _open(invocation)
    from bedplate.cli import rollout
    from bedplate.migrations.upgrade import status

    rows = []
    for system, settings in rollout.load_systems(stand.project, variables):
        found = asyncio.run(status(system, settings))
        rows.append(
            {
                "system": system.name,
                "current": ", ".join(found.current) or None,
                "head": ", ".join(found.heads) or None,
                "pending": list(found.pending),
                "is_current": found.is_current,
            }
        )
    invocation.output.result({"systems": rows}, _lines(rows))
    return 0 if all(row["is_current"] for row in rows) else NOT_READY


@declare("migrate down", "Take back the last revision of a system. Rows may be lost.")
@click.argument("system", required=False)
@click.option("--to", "target", default="-1", show_default=True, help="A revision, -N or base.")
@click.option("--confirm", metavar="NAME", help="The name of the managed database to change.")
@LOCK_LIMIT
def down_command(
    invocation: Invocation, system: str | None, target: str, confirm: str | None, timeout: float
) -> None:
    """Downgrade one system, after asking."""
    stand, variables = _open(invocation)
    name = stand.project.choose(system).name
    require_loss_agreed(invocation, stand, name, f"take {name} back to {target}", confirm)
    from bedplate.migrations.upgrade import downgrade
    from bedplate.settings import Settings
    from bedplate.system import load_system

    result = asyncio.run(
        downgrade(
            load_system(stand.project, stand.project.entry(name)),
            Settings.load(name, variables),
            target,
            timeout=timedelta(seconds=timeout),
            on_step=lambda step: invocation.output.done(
                f"{name}: took back {step.revision} {step.title}", step.duration
            ),
        )
    )
    invocation.output.result(
        {"system": name, "taken_back": list(result.applied), "head": result.head},
        f"{name} is at {result.head or 'base'}",
    )


@declare("migrate new", "Write a new revision from what the models say.")
@click.argument("system", required=False)
@click.option("-m", "--message", required=True, help="What the revision changes.")
def new_command(invocation: Invocation, system: str | None, message: str) -> None:
    """Autogenerate a revision in the system's folder; look at it before it is applied."""
    stand, variables = _open(invocation)
    name = stand.project.choose(system).name
    from bedplate.cli.revisions import write_revision

    path = write_revision(stand.project, name, variables, message)
    invocation.output.result({"system": name, "path": str(path)}, f"wrote {path}; read it first")


def _open(invocation: Invocation) -> tuple[Stand, dict[str, str]]:
    stand = find_stand(invocation)
    state = find_state(invocation, stand)
    return stand, stand.environment(stack_variables(stand.project, state))


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    cells = [
        (row["system"], row["current"] or "-", row["head"] or "-", ", ".join(row["pending"]) or "-")
        for row in rows
    ]
    return table([("system", "current", "head", "pending"), *cells])


command.add_command(status_command, "status")
command.add_command(down_command, "down")
command.add_command(new_command, "new")
