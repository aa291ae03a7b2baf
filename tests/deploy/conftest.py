"""A database made as the compose file makes it, and the folder and variables of a container."""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import pytest

from bedplate.testing.background import BackgroundLoop
from bedplate.testing.redis_database import empty
from bedplate.testing.stack import Servers
from bedplate.urls import DatabaseUrl
from tests.deploy import image
from tests.deploy.compose import LIBRILABS, ComposeFile
from tests.texts import ROOT

SCRIPT = ROOT / "deploy" / "postgres" / "create-databases.sh"
# Loopback under a name that bedplate does not take for its own embedded stack's: to the commands
# these servers are somebody's, as a container's are.
LOOPBACK = "127.1"


@dataclass(frozen=True)
class Container:
    """What one container of the compose file has: its working folder and its variables."""

    folder: Path
    environment: dict[str, str] = field(repr=False)

    def call(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, as `docker compose exec` does."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command that stays, as a container does."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def composed_database(stack: Servers, background: BackgroundLoop) -> Iterator[DatabaseUrl]:
    """What the database's container makes at its first start, by the very script."""
    if stack.state is None:
        pytest.skip("the script needs a superuser, whom a server of one's own does not give")
    mark = secrets.token_hex(4)
    database, owner = f"bedplate_test_compose_{mark}", f"compose_{mark}"
    admin = stack.admin
    done = subprocess.run(
        [SCRIPT],
        env={
            "PATH": f"{stack.state.client_tools}:{os.environ['PATH']}",
            "PGHOST": admin.host,
            "PGPORT": str(admin.port),
            "PGPASSWORD": admin.password or "",
            "POSTGRES_USER": admin.user or "",
            "BEDPLATE_DATABASES": f"{database} {owner} librilabs_dev\n",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield replace(admin, database=database, user=owner, password="librilabs_dev", host=LOOPBACK)
    background.run(_drop(admin, database, owner))


@pytest.fixture(scope="module")
def container(
    composed_database: DatabaseUrl,
    worker_redis_url: str,
    background: BackgroundLoop,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Container]:
    """The application's container: what the image has, and the compose file's variables."""
    folder = tmp_path_factory.mktemp("app")
    image.fill(folder)
    service = ComposeFile.read(LIBRILABS).services["api"]
    given = {name: str(value) for name, value in service["environment"].items()}
    # The S3 of the compose files has a test of its own; here is none of that name.
    given = {name: each for name, each in given.items() if not name.startswith(("AWS_", "S3_"))}
    given["DATABASE_URL"] = composed_database.render()
    given["REDIS_URL"] = worker_redis_url.replace("127.0.0.1", LOOPBACK)
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    yield Container(
        folder / Path(service["working_dir"]).relative_to("/app"),
        own | {"PYTHONUNBUFFERED": "1"} | given,
    )
    background.run(empty(worker_redis_url))


async def _drop(admin: DatabaseUrl, database: str, owner: str) -> None:
    connection = await asyncpg.connect(admin.render())
    try:
        await connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await connection.execute(f"DROP ROLE {database}_app, {owner}")
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await connection.close()
