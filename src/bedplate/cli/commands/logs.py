"""`bedplate logs [SERVICE]`: what the services wrote, of one or of all; `-f` goes on."""

import threading
from pathlib import Path

import click

from bedplate.cli.interrupts import ended_by_signals
from bedplate.cli.log_tail import INTERVAL_SECONDS, Tail, last_lines
from bedplate.cli.options import Invocation, declare
from bedplate.errors import NotFoundError
from bedplate.servers.folder import StateFolder


@declare("logs", "Show what the services wrote.", without=("-n",))
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", default=50, show_default=True, help="Lines of each log.")
def command(invocation: Invocation, service: str | None, follow: bool, lines: int) -> None:
    """Print the last lines of each log; with more than one log, each line names its service."""
    paths = _find(invocation, service)
    tails = {path: Tail(path) for path in paths}
    found = {path.stem: last_lines(path, lines) for path in paths}
    is_named = len(paths) > 1
    text = [_named(name, line, is_named) for name, own in found.items() for line in own]
    invocation.output.result({"logs": found}, text)
    if follow and not invocation.output.is_json:
        with ended_by_signals():
            _follow(tails, is_named)


def _find(invocation: Invocation, service: str | None) -> list[Path]:
    folder = StateFolder(invocation.project.state).logs
    paths = sorted(folder.glob("*.log"))
    if service is None:
        return paths
    for path in paths:
        if path.stem == service:
            return [path]
    known = ", ".join(path.stem for path in paths)
    raise NotFoundError(
        f"no log of {service!r} in {folder}",
        hint=f"bedplate logs {paths[0].stem}  (there are: {known})" if paths else "bedplate up -d",
    )


def _follow(tails: dict[Path, Tail], is_named: bool) -> None:
    never = threading.Event()
    while True:
        for path, tail in tails.items():
            for line in tail.read():
                print(_named(path.stem, line, is_named), flush=True)
        never.wait(INTERVAL_SECONDS)


def _named(name: str, line: str, is_named: bool) -> str:
    return f"{name:<10} │ {line}" if is_named else line
