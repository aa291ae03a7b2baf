"""What `serve`, `relay` and `worker` begin with: the lifeline, the variables, the log's format.

They run as children of `bedplate run`, or by hand, or in a container with variables only.
"""

import logging
import os
import socket
import sys
import time

from bedplate.cli import lifeline
from bedplate.cli.options import Invocation
from bedplate.cli.stack import find_stand, find_state, stack_variables

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


def begin(invocation: Invocation) -> socket.socket | None:
    """Watch the lifeline, and complete the environment from the running stack.

    Raises `StackNotRunningError` when a variable is not set and no stack runs.
    """
    line = lifeline.watch()
    if line is None:
        # Not `run`'s child: the variables may be missing, or those of a stack that is gone.
        stand = find_stand(invocation)
        variables = stand.environment(stack_variables(stand.project, find_state(invocation, stand)))
        os.environ.update(variables)
    if str(invocation.project.root) not in sys.path:
        sys.path.insert(0, str(invocation.project.root))
    return line


def configure_logging(level: str) -> None:
    """One line each on stderr, in UTC, in the form that `log_tail` reads."""
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=level, format=FORMAT, datefmt="%Y-%m-%dT%H:%M:%S", force=True)
    logging.captureWarnings(capture=True)
