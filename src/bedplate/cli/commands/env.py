"""`bedplate env`: the variables that point a shell, a `.env` or a program at the services.

The one command whose purpose is to print secrets. Text is for `eval "$(bedplate env)"`; it puts
PostgreSQL's client tools on the PATH and sets PG* for psql.
"""

import shlex

import click

from bedplate.cli.options import Invocation, declare
from bedplate.cli.shell import shell_variables
from bedplate.cli.stack import find_stand, find_state


@declare("env", 'Print the environment: eval "$(bedplate env)".')
@click.argument("system", required=False)
def command(invocation: Invocation, system: str | None) -> None:
    """Print the variables of all systems; PG* are those of SYSTEM, or of the first one."""
    stand = find_stand(invocation)
    state = find_state(invocation, stand)
    variables = shell_variables(stand, state, system, namespace=invocation.namespace)
    if invocation.format == "env":
        lines = [f"{name}={_dotenv_quoted(value)}" for name, value in variables.items()]
    else:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    data: dict[str, object] = {"environment": variables}
    if state is not None and state.databases:
        data["client_tools"] = str(state.client_tools)
        lines += _path_line(invocation.format, str(state.client_tools))
    invocation.output.result(data, lines)


def _path_line(form: str, folder: str) -> list[str]:
    # A PATH in a .env file would replace the whole of the reader's own.
    return [] if form == "env" else [f'export PATH={shlex.quote(folder)}:"$PATH"']


def _dotenv_quoted(value: str) -> str:
    if "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
