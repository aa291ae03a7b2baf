"""Every command by name, with its help line, so that `--help` need not import any of them.

`main` reads it; a test holds each line equal to what the command says of itself.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """One command: the module that holds it (below `bedplate.cli.commands`) and its help line."""

    module: str
    help: str
    is_hidden: bool = False


# In the order of a first day, which is the order of `bedplate --help`.
COMMANDS = {
    "new": Entry("new", "Make a project: a backend that runs, ready to be filled in."),
    "run": Entry("run", "Start everything: servers, migrations, seeds, API, relay, worker."),
    "up": Entry("up", "Start the embedded servers, or attach to them."),
    "down": Entry("down", "Stop the embedded servers."),
    "status": Entry("status", "Show which services are up, where, and since when."),
    "logs": Entry("logs", "Show what the services wrote."),
    "wait": Entry("wait", "Wait until every service answers."),
    "env": Entry("env", 'Print the environment: eval "$(bedplate env)".'),
    "exec": Entry("exec", "Run a command with the environment: bedplate exec -- CMD."),
    "psql": Entry("psql", "Open psql on a system's database."),
    "redis-cli": Entry("redis_cli", "Open redis-cli, or its stand-in, on Redis."),
    "prepare": Entry("prepare", "Start, migrate and seed; safe to repeat."),
    "migrate": Entry("migrate", "Bring every system's database to the newest revision."),
    "seed": Entry("seed", "Create what every system needs to start with; safe to repeat."),
    "files": Entry("files", "List, show, sweep and verify the stored files of a system."),
    "jobs": Entry("jobs", "List, show, retry and cancel jobs."),
    "outbox": Entry("outbox", "List, show, retry and drop messages to other servers."),
    "doctor": Entry("doctor", "Say what is wrong with servers and data, why, and what to do."),
    "relay": Entry("relay", "Tell other servers what was committed."),
    "worker": Entry("worker", "Do the jobs."),
    "serve": Entry("serve", "Serve the API of every system, in one process.", is_hidden=True),
    "start": Entry("up", "The same as up.", is_hidden=True),
    "stop": Entry("down", "The same as down.", is_hidden=True),
}
