"""A function is crashed at each step it passes, in a process of its own, and recovers or is caught.

The table of effects has no key on purpose: what is done twice is seen twice.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import MetaData, text

from bedplate import failpoint
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import Task, task
from bedplate.layer import DataLayer
from bedplate.migrations.upgrade import upgrade
from bedplate.rows.database import Database
from bedplate.settings import Settings
from bedplate.system import System
from bedplate.testing import Crashes, CrashPoint, drain, enqueued
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import Clones, ScratchDatabase
from bedplate.testing.crashes import variables_of
from bedplate.testing.redis_database import empty

CREATE = "CREATE TABLE crash_effects (what text NOT NULL)"
WRITE = text("INSERT INTO crash_effects (what) VALUES (:what)")
READ = text("SELECT what FROM crash_effects ORDER BY what")
NAME = "librilabs"


@task(name="crashed.ship")
async def ship(job: JobRun) -> None:
    """Ship, in the COMMIT that ends the job."""
    async with job.finishing() as uow:
        await uow.execute(WRITE, {"what": "shipped"})


@task(name="crashed.ship_carelessly")
async def ship_carelessly(job: JobRun) -> None:
    """Ship in a COMMIT of its own, and only then end the job."""
    async with job.transaction() as uow:
        await uow.execute(WRITE, {"what": "shipped"})
    failpoint("crashed.between")


async def order(layer: DataLayer) -> None:
    """One order, to its end."""
    async with layer.transaction() as uow:
        await uow.execute(WRITE, {"what": "ordered"})
        uow.enqueue(ship)
    await drain(layer, [ship])


async def order_carelessly(layer: DataLayer) -> None:
    """As `order`, by the careless task."""
    async with layer.transaction() as uow:
        await uow.execute(WRITE, {"what": "ordered"})
        uow.enqueue(ship_carelessly)
    await drain(layer, [ship_carelessly])


async def fail(layer: DataLayer) -> None:
    """Fail without being told to."""
    raise ValueError("the shop is closed")


async def only_order(layer: DataLayer) -> None:
    """One row."""
    async with layer.transaction() as uow:
        await uow.execute(WRITE, {"what": "ordered"})


async def check(layer: DataLayer) -> None:
    """Ordered and shipped once, or nothing at all."""
    async with layer.reading() as session:
        effects = list((await session.execute(READ)).scalars())
    assert effects in ([], ["ordered", "shipped"])
    assert [job.state for job in await enqueued(layer)] == ["succeeded"] * bool(effects)


@pytest.fixture(scope="module")
def effects_database(
    clones: Clones, librilabs_database: ScratchDatabase, background: BackgroundLoop
) -> Iterator[ScratchDatabase]:
    """A database with the table of effects, which the serving role may write."""
    scratch = clones.blank(NAME)

    async def fill() -> None:
        layer_only = System(NAME, "Crashed", MetaData(), create_app=lambda _: pytest.fail("none"))
        await upgrade(layer_only, scratch.settings())
        async with Database(scratch.url) as database, database.engine.begin() as owner:
            await owner.execute(text(CREATE))
            await owner.execute(text(f'GRANT SELECT, INSERT ON crash_effects TO "{scratch.role}"'))

    background.run(fill())
    clones.watch(scratch)
    yield scratch
    clones.drop(scratch)


@pytest.fixture
def crashes_of(
    effects_database: ScratchDatabase, clones: Clones, background: BackgroundLoop, redis_url: str
) -> Callable[..., Crashes]:
    """As the plugin's fixture makes them, for these tasks."""

    def reset() -> None:
        clones.reset(effects_database)
        background.run(empty(redis_url))

    def crashes(*tasks: Task[Any]) -> Crashes:
        return Crashes(effects_database.settings(), NAME, tasks, reset)

    return crashes


async def test_a_function_is_crashed_at_every_step_that_it_passes(
    crashes_of: Callable[..., Crashes],
) -> None:
    """Commit, relay and worker: at each of them a real process is killed, and the order stands."""
    points = await crashes_of(ship).run(order, check)
    assert CrashPoint("tx.before_commit", 1) in points
    assert CrashPoint("tx.before_commit", 2) in points
    assert {point.step for point in points} >= {
        "tx.after_commit",
        "relay.after_mark",
        "relay.after_publish",
        "worker.after_claim",
        "job.before_finish",
        "job.after_finish",
    }


async def test_a_careless_function_is_caught_and_the_step_is_named(
    crashes_of: Callable[..., Crashes],
) -> None:
    """The tool is worth nothing unless it finds what it is for: a task whose effect is doubled."""
    with pytest.raises(AssertionError) as caught:
        await crashes_of(ship_carelessly).run(order_carelessly, check)
    assert "'ordered', 'shipped', 'shipped'" in str(caught.value)
    assert "after a crash at" in caught.value.__notes__[0]


async def test_what_a_run_is_to_begin_with_is_there_each_time(
    crashes_of: Callable[..., Crashes],
) -> None:
    """The database is emptied before each run."""
    seen: list[list[str]] = []

    async def prepare(layer: DataLayer) -> None:
        async with layer.transaction() as uow:
            await uow.execute(WRITE, {"what": "a customer"})

    async def look(layer: DataLayer) -> None:
        async with layer.reading() as session:
            seen.append(list((await session.execute(READ)).scalars()))

    points = await crashes_of().run(only_order, look, prepare=prepare)
    assert len(seen) == len(points) + 1 > 1
    assert {tuple(effects) for effects in seen} == {
        ("a customer",),
        ("a customer", "ordered"),
    }


async def test_a_scenario_that_fails_by_itself_is_refused(
    crashes_of: Callable[..., Crashes],
) -> None:
    """What fails without a crash proves nothing of one."""
    with pytest.raises(AssertionError, match="the shop is closed"):
        await crashes_of().run(fail, check)


async def test_a_nested_function_is_refused(crashes_of: Callable[..., Crashes]) -> None:
    """Another process could not import it."""

    async def nested(layer: DataLayer) -> None:
        """Unreachable from outside."""

    with pytest.raises(TypeError, match="nested"):
        await crashes_of(ship).run(nested, check)


def test_settings_are_handed_over_whole(librilabs_settings: Settings) -> None:
    """A child with another setting would prove something else."""
    variables = variables_of(librilabs_settings)
    assert Settings.load(variables=variables) == librilabs_settings
    changed = variables | {"BEDPLATE_LEASE": "2.5", "BEDPLATE_TRANSACTION_POOLER": "true"}
    settings = Settings.load(variables=changed)
    assert settings.lease == timedelta(seconds=2.5)
    assert variables_of(settings) == changed
