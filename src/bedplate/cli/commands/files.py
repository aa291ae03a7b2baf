"""`bedplate files`: `list`, `show`, `sweep` and `verify` the stored files of a system."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from bedplate.cli.consent import require_consent
from bedplate.cli.options import CONTEXT, Invocation, declare, global_options
from bedplate.cli.output import Output, plain, record, size, table
from bedplate.cli.stack import open_system
from bedplate.errors import ConsentMissingError

if TYPE_CHECKING:
    from bedplate.cli.file_check import Check
    from bedplate.delivery.file_sweeper import FilesSwept
    from bedplate.files.stored_files import StoredFile

STATES = ("pending", "committed", "deleted", "gone")
PROGRESS_INTERVAL = timedelta(seconds=2)
SWEPT = {
    "given_up": "uploads given up",
    "expired": "files expired",
    "deleted": "objects deleted",
    "forgotten": "rows forgotten",
    "quarantined": "objects without a row found, and noted",
    "orphans": "noted objects deleted",
    "aborted": "uploads in parts aborted",
}
SYSTEM = click.argument("system", required=False)


@click.group(
    "files",
    context_settings=CONTEXT,
    help="List, show, sweep and verify the stored files of a system.",
)
@global_options()
def command() -> None:
    """Nothing by itself: the subcommands."""


@declare("files list", "List the files of a system, newest first.")
@SYSTEM
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Files at most."
)
@click.option("--below", type=click.UUID, metavar="ID", help="Go on below this file.")
def list_command(
    invocation: Invocation, system: str | None, state: str | None, limit: int, below: UUID | None
) -> None:
    """Print a page of rows; S3 is not asked."""
    name, variables, _ = open_system(invocation, system)
    from bedplate.cli.files import load_page
    from bedplate.files.stored_files import FileState

    wanted = FileState(state) if state else None
    found, following = asyncio.run(
        load_page(name, variables, state=wanted, below=below, limit=limit)
    )
    rows = [_row(file) for file in found]
    invocation.output.result(
        {"system": name, "files": rows, "next": following and str(following)}, _lines(found)
    )
    if following is not None:
        invocation.output.note(f"there are more: --below {following}")


@declare("files show", "Show all that is known of one file.")
@click.argument("file_id", metavar="ID", type=click.UUID)
@SYSTEM
def show_command(invocation: Invocation, file_id: UUID, system: str | None) -> None:
    """Print every column of its row; S3 is not asked."""
    name, variables, _ = open_system(invocation, system)
    from bedplate.cli.files import load_one

    row = asyncio.run(load_one(name, variables, file_id))
    found = {key: plain(value) for key, value in row.items()}
    invocation.output.result({"system": name, "file": found}, record(found))


@declare("files sweep", "Delete now what no transaction wants any more.")
@SYSTEM
@click.option("--dry-run", is_flag=True, help="Count what would go, and change nothing.")
@click.option(
    "--orphans",
    is_flag=True,
    help="Also objects without a row: noted first, deleted after their quarantine. With --yes "
    "however many.",
)
@click.option(
    "--adopt", is_flag=True, help="Make this database the one that may delete in the bucket."
)
def sweep_command(
    invocation: Invocation, system: str | None, dry_run: bool, orphans: bool, adopt: bool
) -> None:
    """As the relay does by itself every few seconds, with what it leaves to a person."""
    if dry_run and adopt:
        raise click.UsageError("--adopt changes the bucket, and --dry-run nothing: give one")
    name, variables, stand = open_system(invocation, system)
    if not dry_run:
        require_consent(invocation, stand, "sweep files")
    swept, is_adopted = asyncio.run(
        _sweep(invocation, name, variables, dry_run=dry_run, orphans=orphans, adopt=adopt)
    )
    if is_adopted:
        invocation.output.done(f"{name}: the bucket is this database's now")
    counts = asdict(swept)
    lines = [f"{count:>7} {SWEPT[what]}" for what, count in counts.items() if count]
    empty = f"{name}: nothing to sweep"
    head = f"{name}: this would be swept" if dry_run else f"{name}: swept"
    invocation.output.result(
        {"system": name, "is_dry_run": dry_run, "is_adopted": is_adopted, **counts},
        [head, *lines] if lines else empty,
    )


@declare("files verify", "Read every committed file and compare it with its row.")
@SYSTEM
def verify_command(invocation: Invocation, system: str | None) -> int:
    """Size and SHA-256 of every object. Exit status 1 when one is missing or another."""
    name, variables, _ = open_system(invocation, system)
    check = asyncio.run(_verify(name, variables, invocation.output))
    findings = [{**asdict(each), "id": str(each.id)} for each in check.findings]
    for each in check.findings:
        invocation.output.failed(f"{each.id} {each.file_name}: {each.message}")
    told = f"{name}: {check.files} files, {size(check.size_bytes)}"
    found = f"{len(findings)} without their bytes" if findings else "all whole"
    invocation.output.result(
        {
            "system": name,
            "files": check.files,
            "size_bytes": check.size_bytes,
            "findings": findings,
        },
        f"{told}: {found}",
    )
    return 1 if findings else 0


async def _sweep(
    invocation: Invocation,
    name: str,
    variables: dict[str, str],
    *,
    dry_run: bool,
    orphans: bool,
    adopt: bool,
) -> tuple["FilesSwept", bool]:
    from bedplate.cli import file_sweep
    from bedplate.cli.files import opened

    async with opened(name, variables) as layer:
        if dry_run:
            return await file_sweep.count(layer, has_orphans=orphans), False
        is_adopted = adopt and await file_sweep.adopt(layer, _asking_owner(invocation, name))
        swept = await file_sweep.sweep_rows(layer)
        if orphans:
            found = await file_sweep.sweep_bucket(layer, _asking(invocation, "Delete them?"))
            swept = file_sweep.together(swept, found)
        return swept, is_adopted


def _asking(invocation: Invocation, question: str) -> Callable[[str], bool]:
    """Agrees by --yes; asks at a terminal; else nobody agrees."""

    def ask(why: str) -> bool:
        invocation.output.warn(why)
        return invocation.is_confirmed or (
            invocation.is_interactive and click.confirm(question, err=True)
        )

    return ask


def _asking_owner(invocation: Invocation, name: str) -> Callable[[str], bool]:
    agrees = _asking(invocation, "Take the bucket from it?")

    def ask(why: str) -> bool:
        if agrees(why):
            return True
        raise ConsentMissingError(
            "to adopt a bucket takes from another database the right to delete there, "
            "and nobody agreed to it",
            hint=f"bedplate files sweep {name} --adopt --yes, if that database is gone for good",
        )

    return ask


async def _verify(name: str, variables: dict[str, str], output: Output) -> "Check":
    from bedplate.cli.file_check import verify
    from bedplate.cli.files import opened

    next_at = time.monotonic() + PROGRESS_INTERVAL.total_seconds()

    def say(check: "Check") -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + PROGRESS_INTERVAL.total_seconds()
            output.note(f"{check.files} of {check.total} files, {size(check.size_bytes)}")

    async with opened(name, variables) as layer:
        return await verify(layer, say)


def _row(file: "StoredFile") -> dict[str, Any]:
    return {
        "id": str(file.id),
        "state": file.state.value,
        "size_bytes": file.size_bytes,
        "created_at": plain(file.created_at),
        "expires_at": plain(file.expires_at),
        "content_type": file.content_type,
        "file_name": file.file_name,
    }


def _lines(files: list["StoredFile"]) -> list[str]:
    cells = [
        (
            str(file.id),
            file.state.value,
            "-" if file.size_bytes is None else size(file.size_bytes),
            str(plain(file.created_at)),
            file.file_name,
        )
        for file in files
    ]
    return table([("id", "state", "size", "created", "name"), *cells])


command.add_command(list_command, "list")
command.add_command(show_command, "show")
command.add_command(sweep_command, "sweep")
command.add_command(verify_command, "verify")
