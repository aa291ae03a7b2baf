"""`bedplate outbox`: `list`, `show`, `retry` and `drop` what other servers are to be told."""

import asyncio
import json
from typing import Any
from uuid import UUID

import click

from bedplate.cli.consent import agree_to_many
from bedplate.cli.options import CONTEXT, Invocation, declare, global_options
from bedplate.cli.output import plain, record, table
from bedplate.cli.stack import open_system

LONGEST = 40
SYSTEM = click.option("--system", metavar="NAME", help="Of which system, where there are several.")
KIND = click.option("--kind", metavar="KIND", help="Only those of this kind: cache.invalidate.")
IDS = click.argument("message_ids", metavar="[ID]...", nargs=-1, type=click.UUID)
ALL = click.option("--all", "is_all", is_flag=True, help="All dead ones, asked for once.")


@click.group(
    "outbox",
    context_settings=CONTEXT,
    help="List, show, retry and drop messages to other servers.",
)
@global_options()
def command() -> None:
    """Nothing by itself: the subcommands."""


@declare("outbox list", "List the messages that wait or are dead, newest first.")
@click.option("--dead/--waiting", "is_dead", default=None, help="Only those.")
@KIND
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Messages at most."
)
@click.option("--below", type=click.UUID, metavar="ID", help="Go on below this message.")
@SYSTEM
def list_command(
    invocation: Invocation,
    is_dead: bool | None,
    kind: str | None,
    limit: int,
    below: UUID | None,
    system: str | None,
) -> None:
    """Print a page of the outbox. What was acted on is deleted, and not shown."""
    name, variables, _ = open_system(invocation, system)
    from bedplate.cli.messages import load_page

    found, following = asyncio.run(
        load_page(name, variables, is_dead=is_dead, kind=kind, below=below, limit=limit)
    )
    rows = [{key: plain(value) for key, value in row.items()} for row in found]
    invocation.output.result(
        {"system": name, "messages": rows, "next": following and str(following)}, _lines(rows)
    )
    if following is not None:
        invocation.output.note(f"there are more: --below {following}")


@declare("outbox show", "Show all that is known of one message.")
@click.argument("message_id", metavar="ID", type=click.UUID)
@SYSTEM
def show_command(invocation: Invocation, message_id: UUID, system: str | None) -> None:
    """Print every column of its row."""
    name, variables, _ = open_system(invocation, system)
    from bedplate.cli.messages import load_one

    row = asyncio.run(load_one(name, variables, message_id))
    found = {key: plain(value) for key, value in row.items()}
    shown = {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for key, value in found.items()
    }
    invocation.output.result({"system": name, "message": found}, record(shown))


@declare("outbox retry", "Put dead messages back, with all their attempts.")
@IDS
@ALL
@KIND
@SYSTEM
def retry_command(
    invocation: Invocation,
    message_ids: tuple[UUID, ...],
    is_all: bool,
    kind: str | None,
    system: str | None,
) -> int:
    """By their ids, or all dead ones of a kind, or at all."""
    return _change(invocation, "retry", message_ids, is_all, kind, system)


@declare("outbox drop", "Delete messages: the other server is never told.")
@IDS
@ALL
@KIND
@SYSTEM
def drop_command(
    invocation: Invocation,
    message_ids: tuple[UUID, ...],
    is_all: bool,
    kind: str | None,
    system: str | None,
) -> int:
    """By their ids, dead or not; or all dead ones of a kind, or at all."""
    return _change(invocation, "drop", message_ids, is_all, kind, system)


def _change(
    invocation: Invocation,
    deed: str,
    message_ids: tuple[UUID, ...],
    is_all: bool,
    kind: str | None,
    system: str | None,
) -> int:
    by_kind = is_all or kind is not None
    if bool(message_ids) == by_kind:
        raise click.UsageError("which messages? Give either ids, or --kind or --all")
    name, variables, _ = open_system(invocation, system)
    return asyncio.run(_run_change(invocation, deed, name, variables, list(message_ids), kind))


async def _run_change(
    invocation: Invocation,
    deed: str,
    name: str,
    variables: dict[str, str],
    message_ids: list[UUID],
    kind: str | None,
) -> int:
    from bedplate.cli import messages

    async with messages.opened(name, variables) as layer:
        if message_ids:
            if deed == "drop":
                agree_to_many(invocation, deed, len(message_ids), "message", f"of {name}")
            count, done = len(set(message_ids)), await messages.change(layer, deed, message_ids)
        else:
            count = await messages.count_dead(layer, kind)
            if count:
                agree_to_many(invocation, deed, count, "dead message", f"of {name}")
            done = await messages.change_dead(layer, deed, kind)
    told = {"retry": "put back", "drop": "dropped"}[deed]
    invocation.output.result(
        {"system": name, "changed": done, "left": count - done},
        f"{name}: {told} {done} of {count} messages",
    )
    return 1 if message_ids and done < count else 0


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    cells = [
        (
            row["id"],
            "dead" if row["dead_at"] else "waiting",
            row["kind"],
            _short(row["key"]),
            str(row["attempts"]),
            row["dead_at"] or row["not_before"],
            _short(row["last_error"] or "-"),
        )
        for row in rows
    ]
    return table([("id", "state", "kind", "key", "attempts", "at", "last error"), *cells])


def _short(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


command.add_command(list_command, "list")
command.add_command(show_command, "show")
command.add_command(retry_command, "retry")
command.add_command(drop_command, "drop")
