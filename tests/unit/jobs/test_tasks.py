"""Tasks: names, arguments in and out, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from bedplate.errors import ArgumentsError, UnknownTaskError
from bedplate.jobs.tasks import registry_of, task

if TYPE_CHECKING:
    # As systems do: the annotation of the first parameter cannot be resolved at run time.
    from bedplate.jobs.run import JobRun


class Tone(StrEnum):
    """An argument that JSON holds as a text."""

    PLAIN = "plain"


@task(queue="shop.mail")
async def send(
    job: JobRun, to: UUID, at: datetime | None = None, *, tone: Tone = Tone.PLAIN, copy: int = 0
) -> None:
    """A task with every kind of parameter. `copy` is a method of pydantic's models."""


ADDRESS = uuid4()
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_arguments_come_back_as_they_went_in() -> None:
    """The row holds JSON; the function must see its own types again."""
    encoded = send.encode(ADDRESS, NOON, tone=Tone.PLAIN, copy=2)
    assert encoded["to"] == str(ADDRESS)
    assert send.decode(encoded) == {"to": ADDRESS, "at": NOON, "tone": Tone.PLAIN, "copy": 2}


def test_defaults_are_written_at_enqueue() -> None:
    """A default that changes in a deploy must not change the jobs before it."""
    assert send.encode(ADDRESS) == {"to": str(ADDRESS), "at": None, "tone": "plain", "copy": 0}


def test_a_parameter_added_since_takes_its_default() -> None:
    """Jobs of yesterday's code are run by today's."""
    assert send.decode({"to": str(ADDRESS)})["copy"] == 0


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("no uuid",), {}),
        ((str(ADDRESS),), {}),
        ((ADDRESS, NOON, "third"), {}),
        ((ADDRESS,), {"unknown": 1}),
        ((ADDRESS,), {"copy": "2"}),
        ((ADDRESS,), {"tone": "loud"}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args: Any, kwargs: Any) -> None:
    """Before the commit, with the signature in the hint."""
    with pytest.raises(ArgumentsError, match=r"jobs\.send") as caught:
        send.encode(*args, **kwargs)
    assert "to: " in caught.value.hint


@pytest.mark.parametrize("arguments", [{}, {"to": "no uuid"}, {"to": str(ADDRESS), "gone": 1}])
def test_a_row_that_does_not_fit_is_refused(arguments: dict[str, Any]) -> None:
    """The worker sets such a job dead, with the reason."""
    with pytest.raises(ArgumentsError):
        send.decode(arguments)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", float("nan"), float("inf"), {"a": ["\0"]}])
def test_what_jsonb_cannot_hold_is_refused_at_once(value: Any) -> None:
    """Otherwise the COMMIT's INSERT fails, far from the line that is wrong."""

    @task()
    async def hold(job: JobRun, value: Any) -> None: ...

    with pytest.raises(ArgumentsError):
        hold.encode(value)


@pytest.mark.parametrize("value", ["\\u0000", "\\", "ü\n", 2**60, -0.5, [None, True], {}])
def test_what_only_looks_like_it_is_taken(value: Any) -> None:
    """A backslash followed by u0000 is a text like any other."""

    @task()
    async def hold(job: JobRun, value: Any) -> None: ...

    assert hold.decode(hold.encode(value)) == {"value": value}


def test_options_belong_to_one_job() -> None:
    """`with_options` makes another task; the first is as it was."""
    urgent = send.with_options(priority=9, dedup_key="k", group_key="g", run_at=NOON)
    assert (urgent.name, urgent.options.priority, urgent.options.dedup_key) == (send.name, 9, "k")
    assert send.options.priority == 0


def test_a_time_without_a_zone_is_refused() -> None:
    """It would be the server's local time, whatever that is."""
    with pytest.raises(ArgumentsError, match="time zone"):
        send.with_options(run_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("systems.librilabs.tasks", "librilabs.f"),
        ("shop.tasks", "shop.f"),
        ("shop.tasks.mail", "shop.f"),
        ("shop.app", "shop.f"),
        ("shop", "shop.f"),
    ],
)
def test_a_task_is_named_after_its_system(module: str, name: str) -> None:
    """The name is in the rows: it must not follow how files are cut."""

    async def f(job: JobRun) -> None: ...

    f.__module__ = module
    assert task()(f).name == name


def test_a_given_name_wins() -> None:
    """So that a function can be renamed while its jobs wait."""

    @task(name="shop.old_name")
    async def f(job: JobRun) -> None: ...

    assert f.name == "shop.old_name"


def test_functions_that_cannot_be_tasks_are_refused_when_declared() -> None:
    """At import, not when the first job runs."""

    def plain(job: JobRun) -> None: ...

    async def none() -> None: ...

    async def many(job: JobRun, *all_of_them: int) -> None: ...

    async def named(job: JobRun, **all_of_them: int) -> None: ...

    async def positional(job: JobRun, first: int, /) -> None: ...

    functions: list[Any] = [plain, none, many, named, positional]
    for function in functions:
        with pytest.raises(ArgumentsError):
            task()(function)


def test_the_registry_finds_by_name() -> None:
    """A worker gets a name from the row, and nothing else."""
    registry = registry_of([send])
    assert registry[send.name] is send
    assert (len(registry), list(registry)) == (1, [send.name])
    assert send.name in registry


def test_an_unknown_task_is_named() -> None:
    """A worker of older code puts the job back."""
    with pytest.raises(UnknownTaskError, match=r"shop\.gone") as caught:
        registry_of([])["shop.gone"]
    assert caught.value.data["task"] == "shop.gone"


def test_two_tasks_of_one_name_are_refused() -> None:
    """One of them would run the other's jobs."""
    with pytest.raises(ValueError, match=r"jobs\.send"):
        registry_of([send, send.with_options(priority=1)])


def test_limits_are_checked() -> None:
    """No attempt at all is never meant."""
    with pytest.raises(ValueError, match="max_attempts"):
        task(max_attempts=0)


def test_a_lease_of_its_own_is_kept() -> None:
    """For a task that is known to be slow to start."""

    @task(lease=timedelta(minutes=1), max_attempts=2, args_version=3)
    async def slow(job: JobRun) -> None: ...

    assert (slow.lease, slow.max_attempts, slow.args_version) == (timedelta(minutes=1), 2, 3)


@task(name="shop.report", cron="0 3 * * *")
async def report(job: JobRun, tick: datetime, copies: int = 1) -> None:
    """A periodic task that wants to know which day it is for."""


def test_a_periodic_task_is_given_its_tick() -> None:
    """A report that is late is still the report of its day."""
    assert report.decode(report.encode_tick(NOON)) == {"tick": NOON, "copies": 1}


def test_a_periodic_task_needs_no_arguments() -> None:
    """Nobody is there to give them."""

    async def mail(job: JobRun, to: UUID) -> None: ...

    with pytest.raises(ArgumentsError, match="without a default"):
        task(every=timedelta(minutes=1))(mail)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"every": timedelta(minutes=1), "cron": "* * * * *"}, "not both"),
        ({"every": timedelta(milliseconds=10)}, "a second or more"),
        ({"cron": "61 * * * *"}, "never due"),
        ({"cron": "0 0 30 2 *"}, "never due"),
        ({"cron": "0 3 * * *", "time_zone": "Mars/Olympus"}, "no time zone"),
        ({"time_zone": "Europe/Berlin"}, "belongs to cron"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options: dict[str, Any], why: str) -> None:
    """At the start of the process, and not in the night when it would be due."""
    with pytest.raises(ValueError, match=why):
        task(**options)


def double(version: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had sheets, of which a copy has two."""
    return {"copies": arguments["sheets"] // 2}


@task(name="shop.print", args_version=2, upgrade=double)
async def print_pages(job: JobRun, copies: int) -> None:
    """A task whose arguments have changed."""


def test_older_arguments_are_upgraded() -> None:
    """Jobs of yesterday's code are run by today's, whatever their arguments were called."""
    assert print_pages.decode_version(1, {"sheets": 6}) == {"copies": 3}
    assert print_pages.decode_version(2, {"copies": 6}) == {"copies": 6}
    with pytest.raises(ArgumentsError, match="upgrade from version 1 failed"):
        print_pages.decode_version(1, {"pages": 6})
