"""The servers of one test run: an embedded stack in a folder of its own, or servers one names.

The first process of a run chooses the folder and hands it to the others (pytest-xdist's workers)
by BEDPLATE_TEST_STATE_DIR. Each that needs servers attaches as a foreground client: the first one
starts them, the last one to leave, or to be killed, stops them. Nothing is synced to the disk.
TEST_DATABASE_URL and TEST_REDIS_URL name servers of one's own; their contents are overwritten.
TEST_STAND=pgbouncer serves through a transaction pooler, whichever server is behind it.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from bedplate.errors import SettingsError
from bedplate.project import Project
from bedplate.servers import client
from bedplate.servers.stack import StackOptions
from bedplate.servers.state import StackState
from bedplate.testing.pooler import open_pooler
from bedplate.urls import DatabaseUrl

STOP_TIMEOUT = timedelta(seconds=20)
POOLED = "pgbouncer"
SECRET_KEY = "dev-only-a-key-for-tests-and-nothing-else"  # noqa: S105 - a key for tests


@dataclass(frozen=True)
class Servers:
    """Where tests work. `admin` may create databases; each system's owner is in `owners`.

    `state` is None where TEST_DATABASE_URL names the server. `pooler` is the address of a
    transaction pooler before it, if there is one.
    """

    admin: DatabaseUrl
    owners: Mapping[str, DatabaseUrl]
    roles: Mapping[str, str]
    redis_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    folder: Path
    state: StackState | None = None
    pooler: DatabaseUrl | None = None


@contextmanager
def open_servers(project: Project, folder: Path, variables: Mapping[str, str]) -> Iterator[Servers]:
    """Attach to the run's servers, or start them; leave them at the end."""
    with ExitStack() as leaving:
        servers = leaving.enter_context(_open_servers(project, folder, variables))
        if _is_pooled(variables):
            pooler = open_pooler(servers.admin, servers.owners.values())
            servers = replace(servers, pooler=leaving.enter_context(pooler))
        yield servers


@contextmanager
def _open_servers(
    project: Project, folder: Path, variables: Mapping[str, str]
) -> Iterator[Servers]:
    project = replace(project, state=folder)
    own_database, own_redis = variables.get("TEST_DATABASE_URL"), variables.get("TEST_REDIS_URL")
    with ExitStack() as leaving:
        state = None
        if not (own_database and own_redis):
            options = replace(
                StackOptions.from_environment(variables),
                pinned=False,
                durable=False,
                has_postgres=not own_database,
                has_valkey=not own_redis,
            )
            state = leaving.enter_context(client.attach(project, options)).state
        redis_url = own_redis or (state.redis_url if state else "")
        if own_database:
            url = _own_database(own_database)
            names = [entry.name for entry in project.systems]
            yield Servers(
                admin=url,
                owners=dict.fromkeys(names, url),
                roles=dict.fromkeys(names, f"{url.database}_app"),
                redis_url=redis_url,
                secret_key=SECRET_KEY,
                folder=folder,
            )
        elif state is not None:
            yield _of_stack(project, state, redis_url)


@contextmanager
def open_files(
    project: Project, folder: Path, variables: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Have the run's servers start S3, too; the variables that lead each system to its files.

    Only the first who asks waits for it, and a run in which nobody asks never starts it.
    """
    options = replace(
        StackOptions.from_environment(variables),
        pinned=False,
        durable=False,
        has_postgres=not variables.get("TEST_DATABASE_URL"),
        has_valkey=not variables.get("TEST_REDIS_URL"),
        has_files=True,
    )
    with client.attach(replace(project, state=folder), options) as running:
        found = running.state.environment(project.systems)
        yield {name: value for name, value in found.items() if "AWS_" in name or "S3_" in name}


def stop_servers(project: Project, folder: Path) -> None:
    """End the run: wait for the servers' end, stopping those that a killed process held."""
    client.stop(replace(project, state=folder), timeout=STOP_TIMEOUT)


def _of_stack(project: Project, state: StackState, redis_url: str) -> Servers:
    return Servers(
        admin=DatabaseUrl.parse(state.admin_url),
        owners={name: DatabaseUrl.parse(url) for name, url in state.databases.items()},
        roles={entry.name: f"{entry.database}_app" for entry in project.systems},
        redis_url=redis_url,
        secret_key=state.secret_key,
        folder=project.state,
        state=state,
    )


def _is_pooled(variables: Mapping[str, str]) -> bool:
    stand = variables.get("TEST_STAND", "")
    if stand not in ("", POOLED):
        raise SettingsError(
            f"TEST_STAND is {stand!r}",
            hint=f"Leave it empty, or set it to {POOLED}.",
            variable="TEST_STAND",
        )
    return stand == POOLED


def _own_database(raw: str) -> DatabaseUrl:
    url = DatabaseUrl.parse(raw, variable="TEST_DATABASE_URL")
    if "test" not in url.database.lower():
        raise SettingsError(
            f"TEST_DATABASE_URL names the database {url.database!r}, which is not one for tests",
            hint='Tests overwrite it: give it a name that contains "test".',
            variable="TEST_DATABASE_URL",
        )
    return url
