"""`bedplate jobs` and `bedplate outbox` as processes, on the rows of a stack of its own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from bedplate.delivery import outbox
from bedplate.jobs import ledger
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.settings import Settings
from tests.integration.cli.conftest import Bedplate

Deed = Callable[[DataLayer], Awaitable[Any]]
KILL = "UPDATE bedplate.jobs SET state = 'dead', finished_at = now(), last_error = 'no paper'"
KILL_MESSAGES = "UPDATE bedplate.outbox SET dead_at = now(), last_error = 'gone', attempts = 20"
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def migrated(sample: Bedplate) -> Bedplate:
    """The sample's stack, detached and migrated; nobody relays or works."""
    done = sample.call("up", "-d")
    assert done.returncode == 0, done.stderr
    assert sample.json("jobs", "list")["error"]["code"] == "migration_pending"
    assert sample.call("migrate").returncode == 0
    sample.environment.update(sample.json("env")["data"]["environment"])
    return sample


@pytest.fixture
def empty(migrated: Bedplate) -> Bedplate:
    """The same, with neither jobs nor messages."""
    _do(migrated, sql("DELETE FROM bedplate.jobs", "DELETE FROM bedplate.outbox"))
    return migrated


def test_list_shows_the_newest_first_and_goes_on_below(empty: Bedplate) -> None:
    """Page by page, while others enqueue more; a person is told that there is more, and how."""
    first, second, third = _do(empty, enqueued(3))
    page = _data(empty, "list", "--limit", "2")
    _do(empty, enqueued(1))
    rest = _data(empty, "list", "--limit", "2", "--below", page["next"])
    assert [each["id"] for each in page["jobs"]] == [third, second]
    assert [each["id"] for each in rest["jobs"]] == [first]
    assert rest["next"] is None
    done = empty.call("jobs", "list", "--limit", "1")
    assert done.stdout.split()[:5] == ["id", "state", "task", "queue", "attempt"]
    assert "there are more: --below" in done.stderr


def test_list_takes_states_a_task_and_a_queue(empty: Bedplate) -> None:
    """What is dead is looked for among much that is not."""
    (dead,) = _do(empty, enqueued(1, task="shop.print"))
    _do(empty, sql(KILL))
    (ready,) = _do(empty, enqueued(1, task="shop.mail", queue="mail"))
    assert _ids(empty, "--state", "dead") == [dead]
    assert _ids(empty, "--state", "dead", "--state", "ready") == [ready, dead]
    assert _ids(empty, "--task", "shop.print") == [dead]
    assert _ids(empty, "--queue", "mail") == [ready]
    assert "no paper" in empty.call("jobs", "list", "--state", "dead").stdout


def test_show_says_all_that_is_known(empty: Bedplate) -> None:
    """The arguments as well, which a list leaves out."""
    (job_id,) = _do(empty, enqueued(1))
    found = _data(empty, "show", job_id)["job"]
    assert (found["id"], found["state"], found["arguments"]) == (job_id, "ready", {"copies": 2})
    assert '{"copies": 2}' in empty.call("jobs", "show", job_id).stdout
    missing = empty.call("jobs", "show", NOBODY)
    assert missing.returncode == 1
    assert "bedplate jobs list" in missing.stderr


def test_retry_puts_named_dead_jobs_back_and_says_which_not(empty: Bedplate) -> None:
    """Exit status 1 when one that was named is left: a script must not go on as if it had run."""
    (dead,) = _do(empty, enqueued(1))
    _do(empty, sql(KILL))
    (ready,) = _do(empty, enqueued(1))
    done = empty.call("-o", "json", "jobs", "retry", dead, ready, NOBODY)
    assert done.returncode == 1
    data = json.loads(done.stdout)["data"]
    assert data["changed"] == [dead]
    assert data["left"] == {ready: "ready", NOBODY: None}
    assert "it is ready" in done.stderr
    assert "there is no such job" in done.stderr
    found = _data(empty, "show", dead)["job"]
    assert (found["state"], found["attempt"]) == ("ready", 0)


def test_many_are_changed_only_when_a_person_agrees(empty: Bedplate) -> None:
    """A filter that fits more than was meant must not start a thousand jobs."""
    _do(empty, enqueued(3, task="shop.print"))
    _do(empty, enqueued(2, task="shop.mail"))
    _do(empty, sql(KILL))
    refused = empty.json("jobs", "retry", "--task", "shop.print")
    assert refused["error"]["code"] == "consent_missing"
    assert "retry 3 jobs of sample" in refused["error"]["message"]
    assert len(_ids(empty, "--state", "dead")) == 5
    assert _data(empty, "retry", "--task", "shop.print", "--yes")["changed"] == 3
    assert _data(empty, "retry", "--all", "--yes")["changed"] == 2
    assert _data(empty, "retry", "--all") == {"system": "sample", "changed": 0, "left": 0}
    assert _data(empty, "cancel", "--task", "shop.mail", "--yes")["changed"] == 2
    assert len(_ids(empty, "--state", "cancelled")) == 2
    assert len(_ids(empty, "--state", "ready")) == 3


def test_what_was_meant_must_be_said(empty: Bedplate) -> None:
    """Neither ids nor a filter is no request for all; both contradict each other."""
    assert empty.call("jobs", "cancel").returncode == 2
    assert empty.call("jobs", "cancel", NOBODY, "--all").returncode == 2
    assert empty.call("outbox", "drop").returncode == 2


def test_messages_are_listed_put_back_and_dropped(empty: Bedplate) -> None:
    """A dead message is told again, or given up by a person; nothing else deletes it."""
    first, second = _do(empty, told("a", "b"))
    assert _messages(empty, "--dead") == []
    _do(empty, sql(KILL_MESSAGES))
    (third,) = _do(empty, told("c"))
    assert _messages(empty, "--dead") == [second, first]
    assert _messages(empty, "--waiting") == [third]
    found = empty.json("outbox", "show", first)["data"]["message"]
    assert (found["key"], found["attempts"]) == ("a", 20)
    assert empty.json("outbox", "retry", first)["data"]["changed"] == 1
    assert _messages(empty, "--waiting") == [third, first]
    assert empty.json("outbox", "drop", "--all")["error"]["code"] == "consent_missing"
    assert empty.json("outbox", "drop", "--all", "--yes")["data"]["changed"] == 1
    assert _messages(empty) == [third, first]
    assert empty.json("outbox", "drop", third, "--yes")["data"]["changed"] == 1
    assert _messages(empty) == [first]


def _data(bedplate: Bedplate, *arguments: str) -> dict[str, Any]:
    answer = bedplate.json("jobs", *arguments)
    assert answer["ok"], answer
    data: dict[str, Any] = answer["data"]
    return data


def _ids(bedplate: Bedplate, *filters: str) -> list[str]:
    return [each["id"] for each in _data(bedplate, "list", *filters)["jobs"]]


def _messages(bedplate: Bedplate, *filters: str) -> list[str]:
    answer = bedplate.json("outbox", "list", *filters)
    return [each["id"] for each in answer["data"]["messages"]]


def _do(bedplate: Bedplate, deed: Deed) -> Any:
    """What cannot be typed, on a layer of the same environment."""

    async def run() -> Any:
        async with DataLayer(Settings.load("sample", bedplate.environment), name="sample") as layer:
            return await deed(layer)

    return asyncio.run(run())


def enqueued(count: int, *, task: str = "shop.print", queue: str = "default") -> Deed:
    """Committed jobs of a task that no process knows; their ids, oldest first."""

    async def enqueue(layer: DataLayer) -> list[str]:
        jobs = [
            ledger.PendingJob(id=new_id(), task=task, queue=queue, arguments={"copies": 2})
            for _ in range(count)
        ]
        async with layer.owner_database.engine.begin() as connection:
            await ledger.insert(connection, jobs)
        return [str(job.id) for job in jobs]

    return enqueue


def told(*keys: str) -> Deed:
    """Committed messages; their ids, oldest first."""

    async def tell(layer: DataLayer) -> list[str]:
        messages = [
            outbox.PendingMessage(id=new_id(), kind=outbox.INVALIDATE, key=key) for key in keys
        ]
        async with layer.owner_database.engine.begin() as connection:
            await outbox.insert(connection, messages)
        return [str(each.id) for each in messages]

    return tell


def sql(*statements: str) -> Deed:
    """Statements as the owner, committed."""

    async def execute(layer: DataLayer) -> None:
        async with layer.owner_database.engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    return execute
