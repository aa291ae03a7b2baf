"""`bedplate down`: stops the embedded servers, whoever started them."""

from dataclasses import replace
from datetime import timedelta

import click

from bedplate.cli.options import Invocation, declare
from bedplate.cli.stack import say_step
from bedplate.servers import client
from bedplate.servers.state import Step


@declare("down", "Stop the embedded servers.")
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds at most.")
def command(invocation: Invocation, timeout: float) -> None:
    """Stop what runs and say so; when nothing runs, that is fine too."""
    steps = client.stop(invocation.project, timedelta(seconds=timeout))
    for step in steps:
        say_step(invocation.output, replace(step, name=f"{_server(step)} stopped"))
    stopped = [_server(step) for step in steps if step.ok]
    text = f"stopped {' and '.join(stopped)}; the data stays in {invocation.project.state}"
    invocation.output.result(
        {"stopped": stopped}, text if steps else "nothing to stop: no embedded server runs here"
    )


def _server(step: Step) -> str:
    return step.name.removeprefix("stop ")
