"""`bedplate serve`: the API of every system in this process, under uvicorn."""

import socket

import click

from bedplate.cli import lifeline
from bedplate.cli.child_process import begin, configure_logging
from bedplate.cli.options import Invocation, declare


@declare("serve", "Serve the API of every system, in one process.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8000, show_default=True)
@click.option("--fd", "descriptor", type=int, hidden=True, help="A listening socket.")
def command(invocation: Invocation, host: str, port: int, descriptor: int | None) -> int:
    """Serve until a signal; the answers under way are finished first.

    A system whose database is not migrated answers 503 until it is.
    """
    line = begin(invocation)
    from bedplate.cli.api import serve
    from bedplate.settings import Settings

    configure_logging(Settings.load().log_level)
    listener = None if descriptor is None else socket.socket(fileno=descriptor)
    is_started = serve(host, port, listener, on_ready=lambda: lifeline.say_ready(line))
    return 0 if is_started else 1
