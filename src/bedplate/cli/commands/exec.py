"""`bedplate exec -- CMD`: runs a program with the environment, and ends with its exit status.

Starts the embedded servers for as long as the program runs when they do not run already.
"""

import shutil
import subprocess
from datetime import timedelta

import click

from bedplate.cli.interrupts import passed_on
from bedplate.cli.options import Invocation, declare_passing
from bedplate.cli.shell import search_path, shell_variables
from bedplate.cli.stack import attached, find_stand, stack_variables

START_LIMIT = timedelta(seconds=60)
# What a shell answers for a command that it does not find.
NOT_FOUND = 127


@declare_passing("exec", "Run a command with the environment: bedplate exec -- CMD.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def command(invocation: Invocation, program: tuple[str, ...]) -> int:
    """Run PROGRAM; its streams are ours, its exit status too."""
    stand = find_stand(invocation)
    with attached(invocation, stand, timeout=START_LIMIT, is_quiet=True) as running:
        state = running.state if running else None
        path = search_path(state)
        own = shell_variables(stand, state, None, namespace=invocation.namespace)
        of_stack = stack_variables(invocation.project, state)
        environment = {**stand.environment(of_stack), **own, "PATH": path}
        found = shutil.which(program[0], path=path)
        if found is None:
            invocation.output.fail("program_not_found", f"no program {program[0]!r} on PATH", "")
            return NOT_FOUND
        with (
            subprocess.Popen([found, *program[1:]], env=environment) as process,
            passed_on(process),
        ):
            status = process.wait()
    return 128 - status if status < 0 else status
