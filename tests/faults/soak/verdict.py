"""The history against the database at rest: what was promised to whom, and what is there."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text

from bedplate.consistency.finding import Subject
from bedplate.consistency.report import check
from bedplate.layer import DataLayer
from tests.faults.soak.history import End, Operation
from tests.faults.soak.writer import counter_key

ORDERS = text("SELECT id, job_id, file_id FROM fault_orders")
JOBS = text("SELECT id, state, arguments ->> 'what' AS what, crashes, attempt FROM bedplate.jobs")
FILES = text(
    "SELECT id, state, encode(sha256, 'hex') AS sha256, file_name FROM bedplate.stored_files"
)
EFFECTS = text("SELECT job_id, count(*) AS count FROM fault_effects GROUP BY job_id")
# Both are changed by the same transactions.
COUNTERS = text("""
SELECT coalesce(counter.key, bump.key) AS key, counter.value, bump.count
  FROM soak_counters AS counter
  FULL JOIN (SELECT key, count(*) AS count FROM soak_bumps GROUP BY key) AS bump
    ON bump.key = counter.key
""")
BUMPS = text("SELECT op, count(*) AS count FROM soak_bumps GROUP BY op")


@dataclass
class World:
    """What the database holds."""

    orders: Mapping[UUID, Any]
    jobs: Mapping[UUID, Any]
    files: Mapping[UUID, Any]
    effects: Mapping[UUID, int]
    bumps: Mapping[UUID, int]
    counters: list[Any]


@dataclass
class Verdict:
    """Every violation, by the invariant; and figures to print."""

    violations: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    unknown_committed: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    effects: int = 0
    lines: int = 0


async def judge(layer: DataLayer, history: Mapping[UUID, Operation]) -> Verdict:
    """Compare, and run every checker of the invariants, every object read."""
    world = await _look(layer)
    verdict = Verdict(
        jobs=Counter(each.state for each in world.jobs.values()),
        files=Counter(each.state for each in world.files.values()),
        effects=sum(world.effects.values()),
        lines=sum(each.lines for each in history.values()),
    )
    deleted, maybe_deleted, refused = _deletes(history.values())
    verdict.violations += [
        f"I14 delete {operation.id} ({operation.error}): it failed, and {order_id} is gone"
        for order_id, operation in refused.items()
        if order_id not in world.orders
    ]
    # Said above: not to be told again as a loss.
    maybe_deleted |= refused.keys()
    for operation in history.values():
        verdict.ends[operation.end] += 1
        verdict.kinds[operation.kind] += 1
        is_there = operation.id in world.orders or operation.id in world.bumps
        verdict.unknown_committed += operation.end is End.UNKNOWN and is_there
        is_deleted = operation.id in deleted, operation.id in maybe_deleted
        verdict.violations += _operation(world, operation, *is_deleted)
    verdict.violations += _jobs(world, history)
    verdict.violations += _rows(world)
    verdict.violations += [line async for line in _copies(layer, world)]
    report = await check(Subject(layer, is_deep=True, limit=1_000_000))
    verdict.violations += [f"I{f.invariant} {f.subject}: {f.what}" for f in report.failures]
    return verdict


def _deletes(
    operations: Iterable[Operation],
) -> tuple[set[UUID], set[UUID], dict[UUID, Operation]]:
    """Orders whose delete was acknowledged, is unknown, failed."""
    deleted, maybe, refused = set(), set(), {}
    for each in operations:
        if each.deletes is not None and each.end is End.ACKNOWLEDGED:
            deleted.add(each.deletes)
        elif each.deletes is not None and each.end is End.UNKNOWN:
            maybe.add(each.deletes)
        elif each.deletes is not None:
            refused[each.deletes] = each
    return deleted, maybe, refused


def _operation(
    world: World, operation: Operation, is_deleted: bool, is_maybe_deleted: bool
) -> Iterator[str]:
    name = f"{operation.kind} {operation.id} ({operation.end} {operation.error})"
    if operation.kind == "read_cached":
        return
    if operation.kind == "bump":
        yield from _bumped(world, name, operation)
        return
    for inner in operation.never:
        if inner in world.orders:
            yield f"I1 {name}: its savepoint was rolled back, and {inner} is there"
    if operation.deletes is None:
        yield from _placed(world, name, operation, is_deleted, is_maybe_deleted)


def _bumped(world: World, name: str, operation: Operation) -> Iterator[str]:
    count = world.bumps.get(operation.id, 0)
    allowed = {End.ACKNOWLEDGED: {2}, End.FAILED: {0}, End.UNKNOWN: {0, 2}}[operation.end]
    if count not in allowed:
        yield f"I1/I2 {name}: {count} rows of its two"


def _placed(
    world: World, name: str, operation: Operation, is_deleted: bool, is_maybe_deleted: bool
) -> Iterator[str]:
    order = world.orders.get(operation.id)
    job = operation.job is not None and operation.job in world.jobs
    if operation.end is End.FAILED and (order is not None or job):
        yield f"I14 {name}: it failed, and is there (row {order is not None}, job {job})"
    if order is not None:
        if is_deleted:
            yield f"I2 {name}: its delete was acknowledged, and it is there"
        yield from _parts(world, name, operation, order)
    elif operation.end is End.ACKNOWLEDGED and not (is_deleted or is_maybe_deleted):
        yield f"I2 {name}: acknowledged, and its row is lost"
    elif job and not (is_deleted or is_maybe_deleted):
        yield f"I1 {name}: its job {operation.job} is there, and its row is not"


def _parts(world: World, name: str, operation: Operation, order: Any) -> Iterator[str]:
    """A row that is there has its job and its file."""
    if order.job_id not in world.jobs:
        yield f"I1 {name}: its job {order.job_id} is lost"
    if order.file_id is None:
        return
    file = world.files.get(order.file_id)
    if file is None or file.state != "committed":
        yield f"I7 {name}: its file {order.file_id} is {file.state if file else 'lost'}"
    elif operation.sha256 is not None and file.sha256 != operation.sha256:
        yield f"I7 {name}: its file {order.file_id} has other bytes"


def _jobs(world: World, history: Mapping[UUID, Operation]) -> Iterator[str]:
    for job_id, job in world.jobs.items():
        effects = world.effects.get(job_id, 0)
        if job.state not in ("succeeded", "dead", "cancelled"):
            yield f"I3 job {job_id} is {job.state} at rest"
        if effects != (1 if job.state == "succeeded" else 0):
            yield f"I4 job {job_id} is {job.state} and has {effects} effects"
        if UUID(job.what) not in history:
            yield f"I1 job {job_id} belongs to no operation"
    for job_id in world.effects.keys() - world.jobs.keys():
        yield f"I4 effects of job {job_id}, which is not there"


def _rows(world: World) -> Iterator[str]:
    for row in world.counters:
        if row.value != row.count:
            yield f"I1 counter {row.key} is {row.value}, and {row.count} transactions raised it"
    named = {order.file_id for order in world.orders.values()}
    for file_id, file in world.files.items():
        if file.state == "committed" and file_id not in named:
            yield f"I1 file {file_id} ({file.file_name}) is committed, and no row names it"
        if file.state == "pending":
            yield f"I8 file {file_id} is pending at rest"


async def _copies(layer: DataLayer, world: World) -> AsyncIterator[str]:
    """At rest a cache entry equals its row, or is absent."""
    for row in world.counters:
        cached = await layer.cache.get(counter_key(row.key), int)
        if cached is not None and cached != row.value:
            yield f"I9 counter {row.key} is {row.value}, and cached as {cached}"


async def _look(layer: DataLayer) -> World:
    async with layer.owner_database.engine.connect() as connection:
        orders = (await connection.execute(ORDERS)).all()
        jobs = (await connection.execute(JOBS)).all()
        files = (await connection.execute(FILES)).all()
        effects = (await connection.execute(EFFECTS)).all()
        bumps = (await connection.execute(BUMPS)).all()
        counters = (await connection.execute(COUNTERS)).all()
    return World(
        orders={row.id: row for row in orders},
        jobs={row.id: row for row in jobs},
        files={row.id: row for row in files},
        effects={row.job_id: row[1] for row in effects},
        bumps={row.op: row[1] for row in bumps},
        counters=list(counters),
    )
