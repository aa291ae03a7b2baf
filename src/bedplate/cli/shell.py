"""The variables that a program outside bedplate needs: ours, and PG* for PostgreSQL's tools.

Called by `env`, `exec` and `psql`. Pure.
"""

import os

from bedplate.cli.stack import stack_variables
from bedplate.cli.stand import DATABASE_VARIABLES, FILE_VARIABLES, Stand
from bedplate.errors import StackNotRunningError
from bedplate.servers.state import StackState
from bedplate.urls import DatabaseUrl

OWN = ("REDIS_URL", "BEDPLATE_SECRET_KEY", "BEDPLATE_ENV")


def shell_variables(
    stand: Stand, state: StackState | None, system: str | None, *, namespace: str | None = None
) -> dict[str, str]:
    """The variables of all systems, and PG* of `system` (default: the first one)."""
    found = stand.environment(stack_variables(stand.project, state))
    variables = {
        name: value
        for name, value in found.items()
        if name in OWN or name.endswith((*DATABASE_VARIABLES, *FILE_VARIABLES))
    }
    chosen = stand.project.entry(system) if system else stand.project.systems[0]
    url = system_database(stand, state, chosen.name)
    if system:
        variables["DATABASE_URL"] = url.render()
    if namespace is not None:
        variables["BEDPLATE_STATE_DIR"] = str(stand.project.state)
    return variables | postgres_variables(url)


def system_database(stand: Stand, state: StackState | None, system: str) -> DatabaseUrl:
    """Where the system's database is, as its owner: managed, or in the running stack."""
    if system in stand.databases:
        return stand.databases[system]
    if state is None or system not in state.databases:
        raise StackNotRunningError(
            f"no embedded database of {system} is running", hint="bedplate down; bedplate up -d"
        )
    return DatabaseUrl.parse(state.databases[system])


def search_path(state: StackState | None) -> str:
    """PATH, with the client tools of the embedded PostgreSQL in front when there is one."""
    path = os.environ.get("PATH", os.defpath)
    if state is None or not state.databases:
        return path
    return f"{state.client_tools}{os.pathsep}{path}"


# What else a URL may say to libpq, and the variables that say it.
LIBPQ = {
    "channel_binding": "PGCHANNELBINDING",
    "options": "PGOPTIONS",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
}


def postgres_variables(url: DatabaseUrl) -> dict[str, str]:
    """What psql, pg_dump and every other program on libpq read."""
    options = dict(url.options)
    variables = {
        "PGHOST": url.host,
        "PGPORT": str(url.port),
        "PGUSER": url.user,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": url.sslmode or "",
        **{name: options.get(parameter, "") for parameter, name in LIBPQ.items()},
    }
    return {name: value for name, value in variables.items() if value}
