"""`bedplate files` as processes, on one system's rows and objects of a stack of its own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from bedplate.delivery.file_sweeper import HARMLESS_ORPHANS
from bedplate.files import ownership
from bedplate.files.file_store import NewFile
from bedplate.files.keys import new_key
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from tests.integration.cli.conftest import Bedplate

Deed = Callable[[DataLayer], Awaitable[Any]]
LOSE = "UPDATE bedplate.stored_files SET pending_until = now() WHERE state = 'pending'"
AGE = "UPDATE bedplate.quarantined_objects SET noticed_at = now() - interval '8 days'"
OTHER_SIZE = "UPDATE bedplate.stored_files SET size_bytes = 9 WHERE file_name = 'c.txt'"


@pytest.fixture(scope="module")
def files(sample: Bedplate) -> Bedplate:
    """The sample's stack with S3, detached and migrated."""
    sample.environment["BEDPLATE_FILES"] = "1"
    done = sample.call("up", "-d")
    assert done.returncode == 0, done.stderr
    unmigrated = sample.json("files", "list")
    assert unmigrated["error"] == {
        "code": "migration_pending",
        "message": "the database of sample has no table of files yet",
        "hint": "bedplate migrate",
    }
    assert sample.call("migrate").returncode == 0
    # For what the tests do themselves, and no longer asked of the stack by each command.
    variables = sample.json("env")["data"]["environment"]
    sample.environment.update(variables)
    return sample


@pytest.fixture
def empty(files: Bedplate) -> Bedplate:
    """The same, with neither rows nor a quarantine; objects of earlier tests are nobody's."""
    _do(files, sql("DELETE FROM bedplate.stored_files", "DELETE FROM bedplate.quarantined_objects"))
    return files


def test_list_shows_the_newest_first_and_goes_on_below(empty: Bedplate) -> None:
    """Page by page, while others store more."""
    _do(empty, stored("a.txt", "b.txt", "c.txt"))
    first = _data(empty, "list", "--limit", "2")
    _do(empty, stored("d.txt"))
    second = _data(empty, "list", "sample", "--limit", "2", "--below", first["next"])
    assert [each["file_name"] for each in first["files"]] == ["c.txt", "b.txt"]
    assert [each["file_name"] for each in second["files"]] == ["a.txt"]
    assert second["next"] is None
    done = empty.call("files", "list", "--limit", "1")
    assert done.stdout.splitlines()[0].split() == ["id", "state", "size", "created", "name"]
    assert "5 B" in done.stdout
    assert "--below" in done.stderr


def test_list_of_a_state_shows_that_state_alone(empty: Bedplate) -> None:
    """What hangs is looked for among much that does not."""
    _do(empty, stored("a.txt"))
    _do(empty, leave_pending)
    found = _data(empty, "list", "--state", "pending")["files"]
    assert [(each["file_name"], each["state"]) for each in found] == [("lost.txt", "pending")]


def test_show_says_all_that_is_known(empty: Bedplate) -> None:
    """Where the object is, and when the row went from state to state."""
    ((file_id, key),) = _do(empty, stored("a.txt"))
    found = _data(empty, "show", file_id)["file"]
    assert (found["id"], found["key"], found["state"]) == (file_id, key, "committed")
    assert len(found["sha256"]) == 64
    assert found["committed_at"].endswith("Z")
    assert found["deleted_at"] is None
    missing = empty.call("files", "show", "00000000-0000-0000-0000-000000000000")
    assert missing.returncode == 1
    assert "bedplate files list" in missing.stderr


def test_verify_finds_the_file_whose_object_is_gone(empty: Bedplate) -> None:
    """Exit status 1, which file and why; all the others are read."""
    _, lost, other = _do(empty, stored("a.txt", "b.txt", "c.txt"))
    done = empty.call("files", "verify")
    assert (done.returncode, done.stdout) == (0, "sample: 3 files, 15 B: all whole\n")
    _do(empty, lambda layer: layer.files.objects.delete([lost[1]]))
    _do(empty, sql(OTHER_SIZE))
    done = empty.call("files", "verify", "-o", "json")
    assert done.returncode == 1
    assert f"✗ {lost[0]} b.txt" in done.stderr
    found = json.loads(done.stdout)["data"]["findings"]
    assert {(each["id"], each["code"]) for each in found} == {
        (lost[0], "object_not_found"),
        (other[0], "file_mismatch"),
    }


def test_sweep_does_what_its_dry_run_says(empty: Bedplate) -> None:
    """The numbers are the same, and the first changed nothing."""
    _do(empty, stored("kept.txt"))
    _do(empty, leave_pending)
    counted = _data(empty, "sweep", "--dry-run")
    swept = _data(empty, "sweep")
    assert (swept["given_up"], swept["deleted"]) == (1, 1)
    assert {**swept, "is_dry_run": True} == counted
    assert empty.call("files", "sweep").stdout == "sample: nothing to sweep\n"
    states = [each["state"] for each in _data(empty, "list")["files"]]
    assert states == ["gone", "committed"]


def test_many_objects_without_a_row_go_only_when_a_person_says_so(empty: Bedplate) -> None:
    """More than an accident leaves: a restored database, or a shared bucket."""
    _do(empty, stored("kept.txt"))
    _do(empty, put_unnamed)
    counted = _data(empty, "sweep", "--orphans", "--dry-run")
    noted = _data(empty, "sweep", "--orphans")
    assert noted["quarantined"] == counted["quarantined"] > HARMLESS_ORPHANS
    assert noted["orphans"] == 0
    _do(empty, sql(AGE))
    refused = empty.call("files", "sweep", "--orphans")
    assert refused.returncode == 1
    assert "bedplate files sweep --orphans --yes" in refused.stderr
    assert _data(empty, "sweep", "--orphans", "--yes")["orphans"] == noted["quarantined"]
    assert _data(empty, "verify")["findings"] == []


def test_a_bucket_of_another_database_is_adopted_only_when_a_person_says_so(
    empty: Bedplate,
) -> None:
    """A copy of production must not delete production's objects."""
    _do(empty, write_foreign_guard)
    _do(empty, leave_pending)
    refused = empty.json("files", "sweep")
    assert refused["error"]["code"] == "bucket_owned"
    assert "files sweep --adopt" in refused["error"]["hint"]
    unsaid = empty.json("files", "sweep", "--adopt")
    assert unsaid["error"]["code"] == "consent_missing"
    assert _data(empty, "list", "--state", "gone")["files"] == []
    adopted = _data(empty, "sweep", "--adopt", "--yes")
    assert adopted["is_adopted"] is True
    assert adopted["deleted"] == 1
    assert _data(empty, "sweep", "--adopt")["is_adopted"] is False


def _data(bedplate: Bedplate, *arguments: str) -> dict[str, Any]:
    answer = bedplate.json("files", *arguments)
    assert answer["ok"], answer
    data: dict[str, Any] = answer["data"]
    return data


def _do(bedplate: Bedplate, deed: Deed) -> Any:
    """What cannot be typed, on a layer of the same environment."""

    async def run() -> Any:
        async with DataLayer(Settings.load("sample", bedplate.environment), name="sample") as layer:
            return await deed(layer)

    return asyncio.run(run())


def stored(*names: str) -> Deed:
    """A committed file for each name, which is what is in it; ids and keys."""

    async def store(layer: DataLayer) -> list[tuple[str, str]]:
        made = []
        for name in names:
            async with layer.transaction() as uow:
                made.append(await uow.store_file(name.encode(), NewFile(name, "text/plain")))
        return [(str(file.id), file.key) for file in made]

    return store


def sql(*statements: str) -> Deed:
    """Statements as the owner, committed."""

    async def execute(layer: DataLayer) -> None:
        async with layer.owner_database.engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    return execute


async def leave_pending(layer: DataLayer) -> None:
    """An upload whose transaction never ended, and whose time is over."""
    await layer.files.send(b"lost", NewFile("lost.txt"))
    await sql(LOSE)(layer)


async def put_unnamed(layer: DataLayer) -> None:
    """More objects without a row than are taken for harmless."""
    for _ in range(HARMLESS_ORPHANS + 1):
        key = new_key("sample", datetime.now(UTC))
        await layer.files.objects.put(key, b"x", "text/plain")


async def write_foreign_guard(layer: DataLayer) -> None:
    """The bucket is another database's."""
    guard = ownership.guard_key("sample")
    await layer.files.objects.delete([guard])
    await layer.files.objects.put(guard, b'{"name": "production"}', "application/json")
