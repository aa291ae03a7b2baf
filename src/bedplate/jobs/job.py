"""A job, as it is before its row, as its row, and as what others need of it: the ledger's values.

`encode` and `encode_one` give the parameters of the statements that insert.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from bedplate.jobs.table import JobState


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that is to be inserted. `run_at` None is the database's now."""

    id: UUID
    task: str
    queue: str
    arguments: Mapping[str, Any]
    arguments_version: int = 1
    priority: int = 0
    max_attempts: int = 5
    run_at: datetime | None = None
    dedup_key: str | None = None
    group_key: str | None = None
    tenant: str | None = None
    actor: str | None = None
    trace_context: Mapping[str, str] | None = None


class Lane(NamedTuple):
    """One priority of one queue."""

    queue: str
    priority: int


@dataclass(frozen=True, slots=True)
class SentJob:
    """What a message needs of a job that was marked as sent."""

    id: UUID
    task: str
    queue: str
    priority: int
    is_grouped: bool
    run_at: datetime


@dataclass(frozen=True, slots=True)
class RescuedJob:
    """A job whose deadline had run out. `is_crash`: a worker had it; otherwise its message."""

    id: UUID
    state: JobState
    is_crash: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A row of bedplate.jobs."""

    id: UUID
    task: str
    queue: str
    priority: int
    arguments: dict[str, Any]
    arguments_version: int
    dedup_key: str | None
    group_key: str | None
    tenant: str | None
    actor: str | None
    trace_context: dict[str, str] | None
    state: JobState
    attempt: int
    max_attempts: int
    crashes: int
    fence: int
    run_at: datetime
    lease_until: datetime | None
    worker: str | None
    progress: int
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


def encode(pending: Sequence[PendingJob]) -> str:
    """Jobs as the parameter of `statements.INSERT`."""
    # By name, and not by `asdict`, which copies deeply and costs more than all the rest.
    given = [{name: getattr(each, name) for name in PendingJob.__slots__} for each in pending]
    return json.dumps(given, default=_as_json)


def encode_one(job: PendingJob) -> dict[str, Any]:
    """A job as the parameters of `statements.INSERT_ONE`."""
    values = {name: getattr(job, name) for name in PendingJob.__slots__}
    values["arguments"] = json.dumps(job.arguments, default=_as_json)
    if job.trace_context is not None:
        values["trace_context"] = json.dumps(job.trace_context, default=_as_json)
    return values


def _as_json(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
