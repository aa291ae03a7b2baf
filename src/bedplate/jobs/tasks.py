"""Tasks: the functions that jobs run, and the registry that finds them by name.

    @task(queue="translation", max_attempts=5)
    async def translate(job: JobRun, translation_id: UUID) -> None: ...

    job_id = uow.enqueue(translate.with_options(group_key="…"), translation_id)

    @task(cron="0 3 * * *", time_zone="Europe/Berlin")
    async def report(job: JobRun, tick: datetime) -> None: ...

Arguments are checked twice: by the type checker at the call (`Task` carries the signature), and
by `encode` when the job is enqueued, so that what cannot be run is refused before the commit.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, cast

from pydantic import ValidationError

from bedplate.errors import ArgumentsError, UnknownTaskError
from bedplate.jobs.parameters import (
    check_signature,
    fields_of,
    first_reason,
    parameters_of,
    refuse_unstorable,
)
from bedplate.jobs.schedules import Schedule, schedule_of

if TYPE_CHECKING:
    from bedplate.jobs.run import JobRun

P = ParamSpec("P")

# Older arguments, as `encode` made them, and their version, to those of the present version.
Upgrade = Callable[[int, dict[str, Any]], dict[str, Any]]

# A periodic task that has a parameter of this name is given the time that it was due.
TICK = "tick"
DEFAULT_QUEUE = "default"
DEFAULT_ATTEMPTS = 5


@dataclass(frozen=True)
class TaskOptions:
    """What one job of a task may have of its own.

    `run_at`: not before this time (default: the database's now). `dedup_key`: at most one live job
    per task, key and tenant. `group_key`: at most one running job per key, whatever the tenant.
    `priority`: higher runs first.
    """

    run_at: datetime | None = None
    dedup_key: str | None = None
    group_key: str | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        if self.run_at is not None and self.run_at.tzinfo is None:
            raise ArgumentsError(
                f"run_at {self.run_at.isoformat()} has no time zone",
                hint="Use datetime.now(UTC) + timedelta(…).",
            )


@dataclass(frozen=True)
class Task(Generic[P]):
    """A function that jobs run. Frozen: `with_options` returns another one."""

    function: "Callable[Concatenate[JobRun, P], Awaitable[None]]" = field(repr=False)
    name: str
    queue: str = DEFAULT_QUEUE
    max_attempts: int = DEFAULT_ATTEMPTS
    lease: timedelta | None = None
    args_version: int = 1
    upgrade: Upgrade | None = None
    schedule: Schedule | None = None
    options: TaskOptions = TaskOptions()

    def with_options(
        self,
        *,
        run_at: datetime | None = None,
        dedup_key: str | None = None,
        group_key: str | None = None,
        priority: int = 0,
    ) -> Self:
        """The same task for one job with options of its own."""
        return replace(self, options=TaskOptions(run_at, dedup_key, group_key, priority))

    def encode(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """The arguments by name, as JSON values. Raises `ArgumentsError` when they do not fit."""
        try:
            parameters = parameters_of(self.function)
            bound = parameters.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            model = parameters.model.model_validate(bound.arguments, strict=True)
            encoded = model.model_dump(mode="json", by_alias=True)
            refuse_unstorable(encoded)
        except ValidationError as error:
            raise self._refusal(first_reason(error)) from error
        except (TypeError, ValueError) as error:
            raise self._refusal(str(error)) from error
        return encoded

    def decode(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments from what `encode` made, typed by annotation. Raises `ArgumentsError`.

        A parameter added since with a default takes it; one that is gone is refused.
        """
        try:
            model = parameters_of(self.function).model.model_validate(dict(arguments))
        except ValidationError as error:
            raise self._refusal(first_reason(error)) from error
        return {str(each.alias): getattr(model, name) for name, each in fields_of(model)}

    def decode_version(self, version: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As `decode`, of arguments that older code made. Raises `ArgumentsError`."""
        if version == self.args_version or self.upgrade is None:
            return self.decode(arguments)
        try:
            upgraded = self.upgrade(version, dict(arguments))
        except (ValueError, TypeError, LookupError) as error:
            raise self._refusal(f"upgrade from version {version} failed: {error}") from error
        return self.decode(upgraded)

    def encode_tick(self, tick: datetime) -> dict[str, Any]:
        """The arguments of the job of one tick. Raises `ArgumentsError`."""
        parameters = parameters_of(self.function).signature.parameters
        return cast("Task[...]", self).encode(**({TICK: tick} if TICK in parameters else {}))

    def _refusal(self, reason: str) -> ArgumentsError:
        return ArgumentsError(
            f"arguments do not fit task {self.name}: {reason}",
            hint=f"Its signature is {self.name}{parameters_of(self.function).signature}",
            task=self.name,
        )


class TaskRegistry(Mapping[str, Task[Any]]):
    """The tasks that this process can run, by name."""

    def __init__(self, tasks: Iterable[Task[Any]]) -> None:
        self._tasks: dict[str, Task[Any]] = {}
        for each in tasks:
            if each.name in self._tasks:
                raise ValueError(f"two tasks are named {each.name!r}")
            self._tasks[each.name] = each

    def __getitem__(self, name: str) -> Task[Any]:
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownTaskError(
                f"no task is named {name!r} in this process",
                hint="Add it to the `tasks` of its System, or start a worker with the code of "
                "the process that enqueued it.",
                task=name,
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks


def task(
    *,
    queue: str = DEFAULT_QUEUE,
    max_attempts: int = DEFAULT_ATTEMPTS,
    lease: timedelta | None = None,
    args_version: int = 1,
    upgrade: Upgrade | None = None,
    every: timedelta | None = None,
    cron: str | None = None,
    time_zone: str | None = None,
    name: str | None = None,
) -> "Callable[[Callable[Concatenate[JobRun, P], Awaitable[None]]], Task[P]]":
    """Make an async function a task. Its first parameter is the `JobRun`.

    `max_attempts` counts runs that raise; `lease` is how long a silent worker keeps the job
    (default: the settings'); `args_version` is raised when the signature changes its meaning, and
    `upgrade(version, arguments)` makes present arguments of those that older code enqueued.
    `every`, or `cron` in `time_zone` (default UTC), runs it by itself: see `schedules.py`. Raises
    `ArgumentsError` when the signature cannot be stored as JSON by name, `ValueError` for the rest.
    """
    if max_attempts < 1:
        raise ValueError(f"max_attempts is {max_attempts}, and must be 1 or more")
    schedule = schedule_of(every, cron, time_zone)

    def declare(function: "Callable[Concatenate[JobRun, P], Awaitable[None]]") -> Task[P]:
        check_signature(function)
        declared = Task(
            function,
            name or _derived_name(function),
            queue,
            max_attempts,
            lease,
            args_version,
            upgrade,
            schedule,
        )
        if schedule is not None:
            _check_periodic(declared)
        return declared

    return declare


def registry_of(tasks: Iterable[Task[Any]]) -> TaskRegistry:
    """The registry of these tasks. Raises `ValueError` when two have one name."""
    return TaskRegistry(tasks)


def _check_periodic(declared: Task[Any]) -> None:
    """Nobody gives arguments to a periodic job: each must have a default, but for the tick."""
    parameters = parameters_of(declared.function).signature.parameters.values()
    for each in parameters:
        if each.default is inspect.Parameter.empty and each.name != TICK:
            raise ArgumentsError(
                f"periodic task {declared.name} has the parameter {each} without a default",
                hint=f"Give it a default, or call it `{TICK}: datetime` for the time that is due.",
            )


def _derived_name(function: Callable[..., Any]) -> str:
    """`systems.librilabs.tasks.translate` is "librilabs.translate"."""
    parts = function.__module__.split(".")
    if "tasks" in parts[1:]:
        parts = parts[: parts.index("tasks", 1)]
    elif len(parts) > 1:
        parts = parts[:-1]
    return f"{parts[-1]}.{function.__name__}"
