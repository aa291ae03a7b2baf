"""`bedplate redis-cli [ARGS]`: redis-cli of the machine, or a stand-in where there is none."""

import os
import shutil
from urllib.parse import SplitResult, unquote, urlsplit

import click

from bedplate.cli.options import Invocation, declare_passing
from bedplate.cli.stack import find_stand, find_state, stack_variables
from bedplate.errors import SettingsError

PROGRAMS = ("redis-cli", "valkey-cli")


@declare_passing("redis-cli", "Open redis-cli, or its stand-in, on Redis.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(invocation: Invocation, arguments: tuple[str, ...]) -> int:
    """[ARGS]: a command of Redis, answered once; without one, a prompt."""
    stand = find_stand(invocation)
    state = find_state(invocation, stand)
    url = stand.environment(stack_variables(stand.project, state)).get("REDIS_URL")
    if url is None:
        raise SettingsError("REDIS_URL is not set", hint="bedplate up -d", variable="REDIS_URL")
    for program in PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            _replace_by(found, urlsplit(url), arguments)
    from bedplate.cli.redis_prompt import answer

    return answer(url, list(arguments))


def _replace_by(program: str, parts: SplitResult, arguments: tuple[str, ...]) -> None:
    where = ["-h", parts.hostname or "127.0.0.1", "-p", str(parts.port or 6379)]
    if parts.scheme == "unix":
        where = ["-s", parts.path]
    if parts.scheme == "rediss":
        where.append("--tls")
    if parts.username:
        where += ["--user", unquote(parts.username)]
    database = parts.path.strip("/") if parts.scheme != "unix" else ""
    if database:
        where += ["-n", database]
    environment = dict(os.environ)
    if parts.password:
        # By the environment: arguments can be read by every user of the machine.
        environment["REDISCLI_AUTH"] = unquote(parts.password)
    os.execve(program, [program, *where, *arguments], environment)
