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
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from bedplate.errors import ArgumentsError, UnknownTaskError
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
_BINDABLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


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
            parameters = _parameters_of(self.function)
            bound = parameters.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            model = parameters.model.model_validate(bound.arguments, strict=True)
            encoded = model.model_dump(mode="json", by_alias=True)
            _refuse_unstorable(encoded)
        except ValidationError as error:
            raise self._refusal(_first_reason(error)) from error
        except (TypeError, ValueError) as error:
            raise self._refusal(str(error)) from error
        return encoded

    def decode(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments from what `encode` made, typed by annotation. Raises `ArgumentsError`.

        A parameter added since with a default takes it; one that is gone is refused.
        """
        try:
            model = _parameters_of(self.function).model.model_validate(dict(arguments))
        except ValidationError as error:
            raise self._refusal(_first_reason(error)) from error
        return {str(each.alias): getattr(model, name) for name, each in _fields(model)}

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
        parameters = _parameters_of(self.function).signature.parameters
        return cast("Task[...]", self).encode(**({TICK: tick} if TICK in parameters else {}))

    def _refusal(self, reason: str) -> ArgumentsError:
        return ArgumentsError(
            f"arguments do not fit task {self.name}: {reason}",
            hint=f"Its signature is {self.name}{_parameters_of(self.function).signature}",
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
        _check_signature(function)
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


@dataclass(frozen=True)
class _Parameters:
    """A task function's parameters after the first: to bind a call, to check and render it."""

    signature: inspect.Signature
    model: type[BaseModel]


@cache
def _parameters_of(function: Callable[..., Any]) -> _Parameters:
    _, *parameters = inspect.signature(function).parameters.values()
    hints = _hints(function, {each.name for each in parameters})
    # By alias, because a field may not be called `copy` or `_x`, and a parameter may.
    fields: dict[str, Any] = {
        f"argument_{each.name}": (
            hints.get(each.name, Any),
            Field(
                ... if each.default is inspect.Parameter.empty else each.default, alias=each.name
            ),
        )
        for each in parameters
    }
    # Infinity and NaN as they are, to be refused: null would be another value.
    config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")
    model = create_model(function.__name__, __config__=config, **fields)
    return _Parameters(inspect.Signature(parameters), model)


def _fields(model: BaseModel) -> Iterable[tuple[str, FieldInfo]]:
    return type(model).model_fields.items()


class _Annotations:
    """Carries the annotations of some parameters to `get_type_hints`."""


def _hints(function: Callable[..., Any], names: set[str]) -> dict[str, Any]:
    # The first parameter is left out: JobRun is often imported for the type checker alone.
    carrier = _Annotations()
    carrier.__annotations__ = {
        name: hint for name, hint in function.__annotations__.items() if name in names
    }
    return get_type_hints(
        carrier, getattr(inspect.unwrap(function), "__globals__", {}), include_extras=True
    )


def _check_signature(function: Callable[..., Any]) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    where = f"{function.__module__}.{function.__qualname__}"
    if not inspect.iscoroutinefunction(function):
        raise ArgumentsError(f"task {where} is no async function", hint="Write `async def`.")
    if not parameters or parameters[0].kind not in {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    }:
        raise ArgumentsError(f"task {where} has no first parameter for its JobRun")
    for each in parameters[1:]:
        if each.kind not in _BINDABLE:
            raise ArgumentsError(
                f"task {where} has the parameter {each}",
                hint="Arguments are stored by name: no *args, **kwargs or positional-only ones.",
            )


def _check_periodic(declared: Task[Any]) -> None:
    """Nobody gives arguments to a periodic job: each must have a default, but for the tick."""
    parameters = _parameters_of(declared.function).signature.parameters.values()
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


def _first_reason(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


# Made once: json.dumps makes one for each call with options, which costs more than the rest.
_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def _refuse_unstorable(encoded: dict[str, Any]) -> None:
    """What JSON or PostgreSQL's jsonb cannot hold: NaN, lone surrogates, the character NUL."""
    rendered = _STRICT.encode(encoded)
    rendered.encode()
    if "\\u0000" in rendered.replace("\\\\", ""):
        raise ValueError("a text holds the character NUL, which PostgreSQL cannot store")
