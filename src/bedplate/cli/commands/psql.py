"""`bedplate psql [SYSTEM] [-- ARGS]`: psql of the running stack, with nothing to type first."""

import os
import shutil
from typing import NoReturn

import click

from bedplate.cli.options import Invocation, declare_passing
from bedplate.cli.shell import postgres_variables, search_path, system_database
from bedplate.cli.stack import find_stand, find_state
from bedplate.errors import BedplateError


@declare_passing("psql", "Open psql on a system's database.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(invocation: Invocation, arguments: tuple[str, ...]) -> NoReturn:
    """[SYSTEM] [-- ARGS]: the first argument names a system when it is the name of one."""
    stand = find_stand(invocation)
    state = find_state(invocation, stand)
    names = [entry.name for entry in stand.project.systems]
    rest = list(arguments)
    system = rest.pop(0) if rest and rest[0] in names else names[0]
    if rest and rest[0] == "--":
        rest.pop(0)
    url = system_database(stand, state, system)
    path = search_path(state)
    found = shutil.which("psql", path=path)
    if found is None:
        raise BedplateError(
            "psql is not on PATH", hint="Install PostgreSQL's client (Debian: postgresql-client)."
        )
    environment = {**os.environ, **postgres_variables(url), "PATH": path}
    os.execve(found, ["psql", *rest], environment)  # the terminal and its signals are psql's
