"""Celery's settings and what a pool child makes of a message, without any server."""

import signal
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import MetaData

from bedplate.celery import Runtime, create_celery
from bedplate.delivery.broker import RUN_JOB
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.settings import Settings
from bedplate.system import System

JOB = "01a200db-0024-72c5-badc-5c62b87f3859"


@task(queue="mail", name="shop.send")
async def send(job: JobRun) -> None:
    """Never run here."""


SHOP = System("shop", "Shop", MetaData(), lambda _layer: FastAPI(), tasks=(send,))


@pytest.fixture
def settings() -> Settings:
    """Servers that nobody connects to."""
    return Settings.load(
        variables={"DATABASE_URL": "postgresql://u:p@h/d", "REDIS_URL": "redis://h:1/0"}
    )


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A runtime whose layers cannot be opened: it must not try."""

    def refuse(_name: str) -> Settings:
        raise AssertionError("a layer was opened")

    runtime = Runtime([SHOP], refuse)
    yield runtime
    runtime.close()


def test_only_json_is_accepted_and_nothing_is_returned(settings: Settings) -> None:
    """A pickle in Redis would run whatever its writer wants."""
    conf = create_celery(settings, [SHOP]).conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.result_backend is None
    assert conf.task_ignore_result is True


def test_remote_control_is_off(settings: Settings) -> None:
    """Else anyone with Redis may shut the workers down."""
    assert create_celery(settings, [SHOP]).conf.worker_enable_remote_control is False


def test_there_is_one_task_of_ours(settings: Settings) -> None:
    """What a message can start is decided by the ledger."""
    names = [
        name for name in create_celery(settings, [SHOP]).tasks if not name.startswith("celery")
    ]
    assert names == [RUN_JOB]


def test_every_queue_of_a_system_is_consumed(settings: Settings) -> None:
    """A queue that nobody consumes is a job that never runs."""
    queues = create_celery(settings, [SHOP]).conf.task_queues
    assert [queue.name for queue in queues] == ["shop.default", "shop.mail"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("bank", JOB), "unknown_system"),
        (("shop", "no id"), "no_job_id"),
        ((), "malformed"),
        ((1, 2), "malformed"),
        (("shop", JOB, "more"), "malformed"),
    ],
)
def test_a_message_that_is_none_of_ours_is_dropped_and_counted(
    runtime: Runtime, arguments: tuple[object, ...], reason: str
) -> None:
    """It must neither raise (Celery would log its arguments) nor open anything."""
    assert runtime.run(*arguments) is None
    assert runtime.dropped == {reason: 1}


def test_making_a_runtime_opens_nothing(runtime: Runtime) -> None:
    """It is made before the fork: a thread or a connection would not survive that."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert runtime._loop is None
