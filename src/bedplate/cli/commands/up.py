"""`bedplate up`: the embedded servers, in the foreground until Ctrl-C, or with `-d` to stay."""

from datetime import timedelta
from typing import Any

import click

from bedplate.cli.called_as import called_as
from bedplate.cli.interrupts import ended_by_signals
from bedplate.cli.options import Invocation, declare
from bedplate.cli.stack import attached, find_stand, say_step
from bedplate.cli.stand import Stand
from bedplate.servers.state import BUCKET, StackState


@declare("up", "Start the embedded servers, or attach to them.")
@click.option("-d", "--detach", is_flag=True, help="Return; the servers stay until `down`.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds at most.")
def command(invocation: Invocation, detach: bool, timeout: float) -> None:
    """Start or attach, say what is where, and stay unless detached."""
    stand = find_stand(invocation)
    limit = timedelta(seconds=timeout)
    with ended_by_signals(), attached(invocation, stand, timeout=limit, detach=detach) as running:
        state = running.state if running else None
        invocation.output.result(_data(stand, state), _block(stand, state))
        if detach or running is None:
            return
        invocation.output.note("Ctrl-C stops the servers; `bedplate up -d` lets them stay.")
        running.wait(lambda step: say_step(invocation.output, step))
        invocation.output.note("the servers were stopped")


def _data(stand: Stand, state: StackState | None) -> dict[str, Any]:
    services = state.services if state else ()
    return {
        "services": [
            {
                "name": service.name,
                "version": service.version,
                "pid": service.pid,
                "port": service.port,
                "ready_ms": service.ready_ms,
                "log": str(service.log),
            }
            for service in services
        ],
        "managed": stand.managed_addresses(),
        "state_folder": str(stand.project.state),
    }


def _block(stand: Stand, state: StackState | None) -> list[str]:
    managed = [f"{name} is managed: {url}" for name, url in stand.managed_addresses().items()]
    if state is None:
        return ["nothing to start", *managed]
    bedplate = called_as()
    return [
        *managed,
        f'environment  eval "$({bedplate} env)"',
        f"database     {bedplate} psql",
        *([f"files        {state.s3_url}/{BUCKET}"] if state.s3_url else []),
        f"next         {bedplate} prepare",
        f"stop         {bedplate} down",
    ]
