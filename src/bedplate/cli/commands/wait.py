"""`bedplate wait`: returns once every service answers; exit status 3 when one does not in time."""

import threading
import time
from datetime import timedelta

import click

from bedplate.cli.options import Invocation, declare
from bedplate.cli.output import duration
from bedplate.cli.reach import answers
from bedplate.cli.stack import find_stand
from bedplate.cli.stand import Stand
from bedplate.errors import WaitTimeoutError
from bedplate.servers import client

LOOK_AGAIN_SECONDS = 0.1
SAY_EVERY_SECONDS = 5.0


@declare("wait", "Wait until every service answers.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds at most.")
def command(invocation: Invocation, timeout: float) -> None:
    """Ask again and again; say now and then which service is still missing."""
    stand = find_stand(invocation)
    started = time.monotonic()
    said = started
    never = threading.Event()
    while missing := _find_missing(stand):
        waited = time.monotonic() - started
        if waited >= timeout:
            raise WaitTimeoutError(
                f"not ready after {duration(timedelta(seconds=waited))}: {', '.join(missing)}",
                hint="bedplate status; bedplate logs",
            )
        if time.monotonic() - said >= SAY_EVERY_SECONDS:
            said = time.monotonic()
            invocation.output.note(f"waiting for {', '.join(missing)} ({waited:.0f} s)")
        never.wait(LOOK_AGAIN_SECONDS)
    took = timedelta(seconds=time.monotonic() - started)
    invocation.output.result({"is_ready": True}, f"ready ({duration(took)})")


def _find_missing(stand: Stand) -> list[str]:
    missing = [name for name, where in stand.endpoints().items() if not answers(where)]
    if stand.embeds:
        state = client.read_state(stand.project)
        if state is None:
            return [*missing, "the embedded servers"]
        missing += [service.name for service in state.services if not service.is_up]
    return missing
