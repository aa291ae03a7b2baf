"""The run's servers, and databases on them."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import DatabaseUnreachableError, SettingsError
from bedplate.project import Project
from bedplate.rows.database import Database
from bedplate.servers.client import read_state
from bedplate.testing.stack import open_servers

if TYPE_CHECKING:
    from pathlib import Path

    from bedplate.testing.clones import Clones, ScratchDatabase
    from bedplate.testing.stack import Servers


async def test_blank_database_has_owner_role_and_vector_only(
    blank_database: "ScratchDatabase", stack: "Servers"
) -> None:
    """A migration must start from what a managed database offers, and nothing else."""
    connection = await Database(blank_database.url).connect()
    try:
        assert await connection.fetchval("SELECT current_user") == blank_database.url.user
        extensions = await connection.fetch("SELECT extname FROM pg_extension ORDER BY 1")
        assert {row["extname"] for row in extensions} - {"vector"} == {"plpgsql"}
        if stack.admin.user != blank_database.url.user:
            assert len(extensions) == 2
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind = 'r'"
        )
        assert tables == 0
        await connection.execute(f'SET ROLE "{blank_database.role}"')
    finally:
        await connection.close()


async def test_dropped_database_is_gone(clones: "Clones") -> None:
    """A run that leaves databases behind fills the disk of whoever names a server of their own."""
    scratch = clones.blank("librilabs")
    clones.drop(scratch)
    with pytest.raises(DatabaseUnreachableError, match="no such database"):
        await Database(scratch.url).connect()


def test_database_not_named_for_tests_is_refused(tmp_path: "Path", project: Project) -> None:
    """TEST_DATABASE_URL left on a real database must not cost its rows."""
    variables = {
        "TEST_DATABASE_URL": "postgresql://me:secret@db.example/production",
        "TEST_REDIS_URL": "redis://localhost/0",
    }
    with (
        pytest.raises(SettingsError, match="TEST_DATABASE_URL") as refusal,
        open_servers(project, tmp_path, variables),
    ):
        pass
    assert "secret" not in str(refusal.value) + refusal.value.hint


async def test_servers_do_not_sync(stack: "Servers") -> None:
    """Waiting for the disk is what makes database tests slow."""
    if stack.state is None:
        pytest.skip("a server of one's own")
    connection = await Database(stack.admin).connect()
    try:
        assert await connection.fetchval("SHOW fsync") == "off"
    finally:
        await connection.close()


def test_s3_joins_the_run_when_a_test_asks(
    stack: "Servers", s3_variables: dict[str, str], project: Project
) -> None:
    """The run's other servers stay as they are, and each system has keys of its own."""
    entry = project.entry("librilabs")
    assert s3_variables[entry.own("AWS_ACCESS_KEY_ID")].startswith(DEVELOPMENT_MARK)
    state = read_state(replace(project, state=stack.folder))
    assert state is not None
    assert state.s3_url == s3_variables["S3_ENDPOINT_URL"]
    if stack.state is not None:
        assert state.databases == stack.state.databases
