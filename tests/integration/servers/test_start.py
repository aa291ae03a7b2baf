"""Starting and stopping: cold, warm, provisioned, on any path."""

import os
import socket
from pathlib import Path

import asyncpg
import pytest

from bedplate.environment import DEVELOPMENT_MARK
from bedplate.errors import ServerError
from bedplate.project import Project
from bedplate.servers.client import attach, read_state, stop
from bedplate.servers.folder import SOCKET_PATH_LIMIT
from bedplate.servers.keys import is_free
from bedplate.servers.stack import StackOptions
from bedplate.urls import DatabaseUrl
from tests.integration.servers import probes
from tests.integration.servers.conftest import MakeProject


async def test_data_stays_across_a_stop_and_a_start(project: Project) -> None:
    """What was committed yesterday is there today, on the same ports with the same passwords."""
    first = probes.up(project)
    await probes.write_mark(first, "kept")
    assert [step.ok for step in stop(project)] == [True, True]
    assert not any(probes.is_running(pid) for pid in probes.pids_of(first))
    second = probes.up(project)
    assert await probes.read_marks(second) == (["kept"], b"kept")
    assert second.databases == first.databases
    assert second.redis_url == first.redis_url
    assert second.secret_key == first.secret_key


async def test_each_system_gets_what_the_contract_says(project: Project) -> None:
    """The migrations rely on it: the owner owns, the app's role serves, vector is there."""
    state = probes.up(project)
    connection = await asyncpg.connect(state.databases["shop"])
    try:
        rows = await connection.fetch(
            "SELECT rolname, rolcanlogin, rolcreaterole, rolsuper, rolbypassrls FROM pg_roles "
            "WHERE rolname LIKE 'shop%' ORDER BY rolname"
        )
        assert [tuple(row) for row in rows] == [
            ("shop_data_app", False, False, False, False),
            ("shop_owner", True, False, False, False),
        ]
        assert (
            await connection.fetchval(
                "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
            )
            == "shop_owner"
        )
        assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,2]'::vector") == 0
        assert not await connection.fetchval("SELECT pg_has_role('shop_data_app', 'USAGE')")
        await connection.execute("SET ROLE shop_data_app")
        assert await connection.fetchval("SELECT current_user") == "shop_data_app"
    finally:
        await connection.close()


async def test_an_owner_may_create_uuid_ossp(project: Project) -> None:
    """Specifications ask for it, and the wheel of PostgreSQL does not hold it."""
    state = probes.up(project)
    connection = await asyncpg.connect(state.databases["shop"])
    try:
        await connection.execute('CREATE EXTENSION IF NOT EXISTS "uuid-ossp"')
        assert (await connection.fetchval("SELECT uuid_generate_v4()")).version == 4
        assert (await connection.fetchval("SELECT uuid_nil()")).int == 0
    finally:
        await connection.close()


async def test_letters_beyond_ascii_are_letters(project: Project) -> None:
    """Sorting by bytes must not make text search blind for other languages than English."""
    state = probes.up(project)
    connection = await asyncpg.connect(state.databases["shop"])
    try:
        assert await connection.fetchval("SELECT lower('ÑÁ')") == "ñá"
        words = await connection.fetchval("SELECT to_tsvector('simple', '¿Qué—dijo?')::text")
        assert words == "'dijo':2 'qué':1"
    finally:
        await connection.close()


def test_a_system_added_later_gets_its_database(project: Project) -> None:
    """A second system in pyproject needs no reset, whether the stack runs or not."""
    probes.up(project)
    both = probes.project_in(project.root, probes.SHOP, probes.BLOG)
    state = probes.up(both)
    assert sorted(state.databases) == ["blog", "shop"]
    assert set(state.environment(both.systems)) == {
        "SHOP_DATABASE_URL",
        "BLOG_DATABASE_URL",
        "REDIS_URL",
        "BEDPLATE_SECRET_KEY",
    }
    assert "DATABASE_URL" in state.environment([probes.SHOP])


def test_passwords_and_keys_are_marked_and_hidden(project: Project) -> None:
    """Production refuses what carries the mark, and a printed state gives no password away."""
    state = probes.up(project)
    password = DatabaseUrl.parse(state.databases["shop"]).password
    assert password.startswith(DEVELOPMENT_MARK)
    assert state.secret_key.startswith(DEVELOPMENT_MARK)
    assert f":{DEVELOPMENT_MARK}" in state.redis_url
    assert DEVELOPMENT_MARK not in repr(state)


def test_two_projects_run_side_by_side(make_project: MakeProject) -> None:
    """One machine, two clones: neither may see or stop the other."""
    one, other = make_project(is_prepared=True), make_project(is_prepared=True)
    first = probes.up(one, options=StackOptions(durable=False))
    second = probes.up(other, options=StackOptions(durable=False))
    ports = {service.port for state in (first, second) for service in state.services}
    assert len(ports) == 4
    stop(one)
    assert all(probes.is_running(pid) for pid in probes.pids_of(second))
    assert read_state(one) is None
    assert read_state(other) == second


@pytest.mark.fault(51, holds="I2", every_run=True)
@pytest.mark.bad_day("A deep path with spaces, quotes and accents", sees="works")
def test_fault_51_a_deep_path_with_odd_characters_works(
    make_project: MakeProject, tmp_path: Path
) -> None:
    """A home has spaces, and a socket's path must fit 103 bytes whatever the project's is."""
    folder = tmp_path / 'It\'s my, "own" folder'
    while len(os.fsencode(folder)) < SOCKET_PATH_LIMIT:
        folder = folder / "déjà vu"
    project = make_project(folder=folder)
    state = probes.up(project)
    assert probes.redis(state, "PING") == b"+PONG"
    run = Path((project.state / "run-folder").read_text())
    assert run.stat().st_mode & 0o777 == 0o700
    assert read_state(project) == state
    stop(project)
    assert not run.exists()


def test_a_planted_run_folder_is_not_entered(short_folder: Path) -> None:
    """A link where our sockets should be would let another user answer in our name."""
    project = probes.project_in(short_folder)
    project.state.mkdir(mode=0o700)
    elsewhere = short_folder / "elsewhere"
    elsewhere.mkdir()
    (project.state / "run").symlink_to(elsewhere)
    with pytest.raises(ServerError, match="File exists"):
        probes.up(project)
    assert list(elsewhere.iterdir()) == []


def test_read_state_answers_none_when_nothing_runs(make_project: MakeProject) -> None:
    """A question must neither start a server nor make a folder."""
    project = make_project()
    assert read_state(project) is None
    assert stop(project) == []
    assert not project.state.exists()


@pytest.mark.fault(51, holds="I2", every_run=True)
@pytest.mark.bad_day("A port in use, not pinned", sees="another is taken, and said")
def test_fault_51_a_taken_port_is_replaced_and_said(project: Project) -> None:
    """The remembered port may be another program's today."""
    before = probes.up(project).service("postgres").port
    stop(project)
    probes.wait_for(lambda: is_free(before))
    with socket.create_server(("127.0.0.1", before)):
        running = attach(project, StackOptions(), detach=True)
    said = [step.detail for step in running.steps if step.name == "postgres"]
    assert running.state.service("postgres").port != before
    assert f"port {before} is in use" in said[0]
