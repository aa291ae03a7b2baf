"""`bedplate jobs`: `list`, `show`, `retry` and `cancel` the jobs of a system."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bedplate.cli.consent import agree_to_many
from bedplate.cli.options import CONTEXT, Invocation, declare, global_options
from bedplate.cli.output import plain, record, table
from bedplate.cli.stack import open_system

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bedplate.jobs.listing import JobFilter
    from bedplate.layer import DataLayer

STATES = ("ready", "sent", "running", "succeeded", "dead", "cancelled")
LIVE = ("ready", "sent", "running")
LONGEST_ERROR = 60
SYSTEM = click.option("--system", metavar="NAME", help="Of which system, where there are several.")
TASK = click.option("--task", metavar="NAME", help="Only those of this task.")
QUEUE = click.option("--queue", metavar="NAME", help="Only those of this queue.")
IDS = click.argument("job_ids", metavar="[ID]...", nargs=-1, type=click.UUID)
ALL = click.option("--all", "is_all", is_flag=True, help="All that fit, asked for once.")


@click.group("jobs", context_settings=CONTEXT, help="List, show, retry and cancel jobs.")
@global_options()
def command() -> None:
    """Nothing by itself: the subcommands."""


@declare("jobs list", "List the jobs of a system, newest first.")
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Only those in this state."
)
@TASK
@QUEUE
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Jobs at most."
)
@click.option("--below", type=click.UUID, metavar="ID", help="Go on below this job.")
@SYSTEM
def list_command(
    invocation: Invocation,
    states: tuple[str, ...],
    task: str | None,
    queue: str | None,
    limit: int,
    below: UUID | None,
    system: str | None,
) -> None:
    """Print a page of the ledger."""
    name, variables, _ = open_system(invocation, system)
    from bedplate.cli.jobs import load_page

    wanted = _filter(states, task, queue)
    found, following = asyncio.run(load_page(name, variables, wanted, below=below, limit=limit))
    rows = [{key: plain(value) for key, value in row.items()} for row in found]
    invocation.output.result(
        {"system": name, "jobs": rows, "next": following and str(following)}, _lines(rows)
    )
    if following is not None:
        invocation.output.note(f"there are more: --below {following}")


@declare("jobs show", "Show all that is known of one job.")
@click.argument("job_id", metavar="ID", type=click.UUID)
@SYSTEM
def show_command(invocation: Invocation, job_id: UUID, system: str | None) -> None:
    """Print every column of its row, the arguments among them."""
    name, variables, _ = open_system(invocation, system)
    from bedplate.cli.jobs import load_one

    job = asyncio.run(load_one(name, variables, job_id))
    found = {key: plain(value) for key, value in asdict(job).items()}
    shown = {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        for key, value in found.items()
    }
    invocation.output.result({"system": name, "job": found}, record(shown))


@declare("jobs retry", "Put dead jobs back, with all their attempts.")
@IDS
@ALL
@TASK
@QUEUE
@SYSTEM
def retry_command(
    invocation: Invocation,
    job_ids: tuple[UUID, ...],
    is_all: bool,
    task: str | None,
    queue: str | None,
    system: str | None,
) -> int:
    """By their ids, or all dead ones of a task, of a queue, or at all."""
    wanted = _chosen(job_ids, is_all, ("dead",), task, queue)
    return _change(invocation, "retry", system, list(job_ids), wanted)


@declare("jobs cancel", "Cancel jobs; one that runs stops at its next check.")
@IDS
@ALL
@click.option(
    "--state", "states", type=click.Choice(LIVE), multiple=True, help="Only those in this state."
)
@TASK
@QUEUE
@SYSTEM
def cancel_command(
    invocation: Invocation,
    job_ids: tuple[UUID, ...],
    is_all: bool,
    states: tuple[str, ...],
    task: str | None,
    queue: str | None,
    system: str | None,
) -> int:
    """By their ids, or all that are live and fit."""
    wanted = _chosen(job_ids, is_all, states or LIVE, task, queue)
    return _change(invocation, "cancel", system, list(job_ids), wanted)


def _filter(states: tuple[str, ...], task: str | None, queue: str | None) -> "JobFilter":
    from bedplate.jobs.listing import JobFilter
    from bedplate.jobs.table import JobState

    return JobFilter(tuple(JobState(each) for each in states), task, queue)


def _chosen(
    job_ids: tuple[UUID, ...],
    is_all: bool,
    states: tuple[str, ...],
    task: str | None,
    queue: str | None,
) -> "JobFilter | None":
    """The filter, when it is not by ids. Says what is wrong with the two together, or with none."""
    by_filter = is_all or task is not None or queue is not None
    if job_ids and by_filter:
        raise click.UsageError("give ids, or --all, --task, --queue, and not both")
    if not job_ids and not by_filter:
        raise click.UsageError("which jobs? Give ids, or --task, --queue or --all")
    return _filter(states, task, queue) if by_filter else None


def _change(
    invocation: Invocation,
    deed: str,
    system: str | None,
    job_ids: list[UUID],
    wanted: "JobFilter | None",
) -> int:
    name, variables, _ = open_system(invocation, system)
    return asyncio.run(_run_change(invocation, deed, name, variables, job_ids, wanted))


async def _run_change(
    invocation: Invocation,
    deed: str,
    name: str,
    variables: dict[str, str],
    job_ids: list[UUID],
    wanted: "JobFilter | None",
) -> int:
    from bedplate.cli import jobs

    change = jobs.retry if deed == "retry" else jobs.cancel
    async with jobs.opened(name, variables) as layer:
        if wanted is None:
            changed = await change(layer, job_ids)
            return await _tell_each(invocation, deed, name, layer, job_ids, changed)
        count = await jobs.count(layer, wanted)
        if count:
            agree_to_many(invocation, deed, count, "job", f"of {name}")
        done = 0
        async for batch in jobs.batches(layer, wanted):
            done += len(await change(layer, batch))
        invocation.output.result(
            {"system": name, "changed": done, "left": count - done},
            f"{name}: {_done(deed)} {done} of {count} jobs",
        )
        return 0


async def _tell_each(
    invocation: Invocation,
    deed: str,
    name: str,
    layer: "DataLayer",
    job_ids: list[UUID],
    changed: frozenset[UUID],
) -> int:
    """Exit status 1 when one of the jobs that were named is not there or not in such a state."""
    from bedplate.cli.jobs import states_of

    left = [each for each in dict.fromkeys(job_ids) if each not in changed]
    states = await states_of(layer, left) if left else {}
    for each in left:
        state = states.get(each)
        why = f"it is {state.value}" if state else "there is no such job"
        if deed == "retry" and state is not None and state.value == "dead":
            why = "another live job of its tenant has its dedup key"
        invocation.output.failed(f"{each} left as it is: {why}")
    invocation.output.result(
        {
            "system": name,
            "changed": [str(each) for each in job_ids if each in changed],
            "left": {str(each): states[each].value if each in states else None for each in left},
        },
        f"{name}: {_done(deed)} {len(changed)} of {len(set(job_ids))} jobs",
    )
    return 1 if left else 0


def _done(deed: str) -> str:
    return {"retry": "put back", "cancel": "cancelled"}[deed]


def _lines(rows: "list[Mapping[str, Any]] | list[dict[str, Any]]") -> list[str]:
    cells = [
        (
            row["id"],
            row["state"],
            row["task"],
            row["queue"],
            f"{row['attempt']}/{row['max_attempts']}",
            row["finished_at"] or row["run_at"],
            _short(row["last_error"]),
        )
        for row in rows
    ]
    return table([("id", "state", "task", "queue", "attempt", "at", "last error"), *cells])


def _short(error: str | None) -> str:
    line = " ".join((error or "-").split())
    return line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 1]}…"


command.add_command(list_command, "list")
command.add_command(show_command, "show")
command.add_command(retry_command, "retry")
command.add_command(cancel_command, "cancel")
