"""`bedplate relay`: tells Redis and Celery what was committed, for every system."""

from datetime import timedelta

from bedplate.cli import lifeline
from bedplate.cli.child_process import begin, configure_logging
from bedplate.cli.options import MIGRATION_LIMIT, Invocation, declare


@declare("relay", "Tell other servers what was committed.")
@MIGRATION_LIMIT
def command(invocation: Invocation, timeout: float) -> None:
    """Run until a signal. Any number may run; none leads."""
    line = begin(invocation)

    from bedplate.cli.relays import relay_all
    from bedplate.event_loop import run
    from bedplate.settings import Settings

    configure_logging(Settings.load().log_level)
    patience = timedelta(seconds=timeout)
    run(relay_all(invocation.project, patience=patience, on_ready=lambda: lifeline.say_ready(line)))
