"""Rows, jobs and messages commit together or not at all."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import (
    ArgumentsError,
    DatabaseUnreachableError,
    NotFoundError,
    TransactionEndedError,
    TransactionError,
)
from bedplate.jobs import ledger
from bedplate.jobs.ledger import JobState
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.settings import Settings
from bedplate.unit_of_work import UnitOfWork
from tests.integration.unit_of_work.conftest import Outside

INSERT = text("INSERT INTO uow_notes VALUES (:note)")


@task(queue="sample.slow", max_attempts=3, name="sample.remember")
async def remember(job: JobRun, note: str, times: int = 1) -> None:
    """A task that is never run here."""


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Every statement that is executed meanwhile, whichever way it takes to the driver."""
    seen: list[str] = []

    execute = PreparedStatement.fetch

    async def note(statement: Any, *values: Any, **options: Any) -> Any:
        seen.append(statement.get_query())
        return await execute(statement, *values, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparedStatement, "fetch", note)
        yield seen


async def test_rows_jobs_and_messages_commit_together(layer: DataLayer, outside: Outside) -> None:
    """The one promise: nothing is visible before the end of the block, everything after it."""
    async with layer.transaction() as uow:
        await uow.execute(INSERT, {"note": "kept"})
        job_id = uow.enqueue(remember, "kept", times=2)
        uow.invalidate("note:kept")
        await uow.flush()
        assert await outside.counts() == (0, 0, 0)
    assert await outside.counts() == (1, 1, 1)
    async with layer.reading() as session:
        job = await ledger.load(session, job_id)
    assert (job.task, job.queue, job.max_attempts) == ("sample.remember", "sample.slow", 3)
    assert job.arguments == {"note": "kept", "times": 2}
    assert job.state is JobState.READY
    assert await outside.rows("SELECT kind || ' ' || key FROM bedplate.outbox") == [
        "cache.invalidate note:kept"
    ]


async def test_an_exception_in_the_block_leaves_nothing(layer: DataLayer, outside: Outside) -> None:
    """A job of a row that was rolled back is what teams find in production."""
    with pytest.raises(RuntimeError, match="changed my mind"):
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "gone"})
            uow.enqueue(remember, "gone")
            uow.invalidate("note:gone")
            await uow.flush()
            raise RuntimeError("changed my mind")
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_failing_commit_leaves_nothing_and_raises(
    layer: DataLayer, outside: Outside
) -> None:
    """The constraint is looked at by COMMIT itself, after every statement has succeeded."""
    with pytest.raises(IntegrityError):
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "twice"})
            await uow.execute(INSERT, {"note": "twice"})
            uow.enqueue(remember, "twice")
            uow.invalidate("note:twice")
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_failing_last_step_leaves_nothing(layer: DataLayer, outside: Outside) -> None:
    """A task's fence is checked there: when it fails, its writes must go, too."""

    async def refuse(_session: AsyncSession) -> None:
        raise PermissionError("not yours any more")

    with pytest.raises(PermissionError):
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "gone"})
            uow.enqueue(remember, "gone")
            uow.before_commit(refuse)
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_marked_for_rollback_the_end_rolls_back_without_an_exception(
    layer: DataLayer, outside: Outside
) -> None:
    """The door does this for an answer of 400 and more."""
    async with layer.transaction() as uow:
        await uow.execute(INSERT, {"note": "gone"})
        uow.enqueue(remember, "gone")
        assert not uow.is_rollback_only
        uow.mark_rollback("the answer is 409")
        assert uow.is_rollback_only
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_savepoint_that_fails_takes_its_jobs_and_messages_along(
    layer: DataLayer, outside: Outside
) -> None:
    """Otherwise a job would commit for rows that only the savepoint had."""
    async with layer.transaction() as uow:
        await uow.execute(INSERT, {"note": "kept"})
        uow.enqueue(remember, "kept")
        with pytest.raises(RuntimeError):
            async with uow.savepoint():
                await uow.execute(INSERT, {"note": "gone"})
                uow.enqueue(remember, "gone")
                uow.invalidate("note:gone")
                raise RuntimeError
        async with uow.savepoint():
            await uow.execute(INSERT, {"note": "kept too"})
            uow.invalidate("note:kept too")
    assert await outside.notes() == ["kept", "kept too"]
    assert await outside.counts() == (2, 1, 1)


@pytest.mark.parametrize(
    "use",
    [
        lambda uow: uow.session,
        lambda uow: uow.add(object()),
        lambda uow: uow.enqueue(remember, "late"),
        lambda uow: uow.invalidate("late"),
        lambda uow: uow.mark_rollback("late"),
        lambda uow: uow.before_commit(None),
    ],
)
async def test_use_after_the_end_is_refused(
    layer: DataLayer, use: Callable[[UnitOfWork], Any]
) -> None:
    """A job enqueued then would be lost silently."""
    async with layer.transaction() as uow:
        pass
    with pytest.raises(TransactionEndedError):
        use(uow)


async def test_a_session_kept_beyond_the_end_is_refused(layer: DataLayer, outside: Outside) -> None:
    """It would begin a transaction that nobody ends, and hold a connection for it."""
    async with layer.transaction() as uow:
        kept = uow.session
        await kept.execute(text("SELECT 1"))
    with pytest.raises(TransactionEndedError):
        await kept.execute(text("SELECT 1"))
    await outside.assert_quiet()


async def test_jobs_cost_one_statement_however_many(layer: DataLayer, outside: Outside) -> None:
    """A loop that enqueues must not become a loop of round trips."""
    with counted_statements() as few:
        async with layer.transaction() as uow:
            uow.enqueue(remember, "one")
            uow.invalidate("one")
    with counted_statements() as many:
        async with layer.transaction() as uow:
            for index in range(300):
                uow.enqueue(remember, str(index))
                uow.invalidate(str(index))
    assert len(few) == len(many) == 1
    assert await outside.counts() == (0, 301, 301)


async def test_an_empty_transaction_takes_no_connection(layer: DataLayer, outside: Outside) -> None:
    """A route that only answers must not wait for the pool."""
    with counted_statements() as seen:
        async with layer.transaction():
            assert outside.connections_in_use() == 0
    assert seen == []


async def test_wrong_arguments_are_refused_at_once(layer: DataLayer, outside: Outside) -> None:
    """Not by a worker, an hour later."""
    async with layer.transaction() as uow:
        with pytest.raises(ArgumentsError, match=r"sample\.remember"):
            uow.enqueue(remember, 5)  # type: ignore[arg-type] # the point of the test
    assert await outside.counts() == (0, 0, 0)


async def test_options_arrive_in_the_row(layer: DataLayer) -> None:
    """Each option is a column; one that is forgotten would be ignored silently."""
    later = datetime.now(UTC) + timedelta(hours=1)
    async with layer.transaction() as uow:
        job_id = uow.enqueue(
            remember.with_options(run_at=later, dedup_key="d", group_key="g", priority=7), "x"
        )
    async with layer.reading() as session:
        job = await ledger.load(session, job_id)
    assert (job.run_at, job.dedup_key, job.group_key, job.priority) == (later, "d", "g", 7)


async def test_without_run_at_the_databases_time_counts(layer: DataLayer) -> None:
    """The clock of an API server may be wrong by an hour."""
    async with layer.transaction() as uow:
        job_id = uow.enqueue(remember, "x")
    async with layer.reading() as session:
        job = await ledger.load(session, job_id)
    assert job.run_at == job.created_at


async def test_a_second_job_with_a_live_dedup_key_is_left_out(
    layer: DataLayer, outside: Outside
) -> None:
    """One live job per task and key; the second id names nothing, and the live one is found."""
    once = remember.with_options(dedup_key="once")
    async with layer.transaction() as uow:
        first = uow.enqueue(once, "first")
    async with layer.transaction() as uow:
        await uow.execute(INSERT, {"note": "kept"})
        second = uow.enqueue(once, "second")
        third = uow.enqueue(once, "third")
    assert await outside.counts() == (1, 1, 0)
    async with layer.reading() as session:
        assert await ledger.find_live(session, once.name, "once") == first
        for left_out in (second, third):
            with pytest.raises(NotFoundError):
                await ledger.load(session, left_out)


async def test_a_live_dedup_key_of_one_tenant_keeps_no_job_of_another_out(
    layer: DataLayer, outside: Outside
) -> None:
    """I10: whoever guesses the key of another tenant could else have its job never run."""
    once = remember.with_options(dedup_key="once")
    found = {}
    for tenant in ("acme", "bob", None):
        async with layer.transaction(tenant=tenant) as uow:
            found[tenant] = uow.enqueue(once, "first")
        async with layer.transaction(tenant=tenant) as uow:
            uow.enqueue(once, "second")
    assert await outside.counts() == (0, 3, 0)
    for tenant, job_id in found.items():
        async with layer.reading(tenant=tenant) as session:
            assert await ledger.find_live(session, once.name, "once") == job_id
        async with layer.owner_database.engine.connect() as owner:
            assert await ledger.find_live(owner, once.name, "once", tenant=tenant) == job_id


async def test_a_dedup_key_is_free_again_once_its_job_has_ended(layer: DataLayer) -> None:
    """Unique while alive, not for ever: a failed translation can be asked for again."""
    once = remember.with_options(dedup_key="once")
    async with layer.transaction() as uow:
        first = uow.enqueue(once, "first")
    async with layer.transaction() as uow:
        await ledger.cancel(uow.session, [first])
    async with layer.transaction() as uow:
        second = uow.enqueue(once, "second")
    async with layer.reading() as session:
        assert (await ledger.load(session, second)).state is JobState.READY


async def test_reading_cannot_write(layer: DataLayer, outside: Outside) -> None:
    """What commits nothing must not look as if it did."""
    with pytest.raises(DBAPIError, match="read-only transaction"):
        async with layer.reading() as session:
            await session.execute(INSERT, {"note": "gone"})
    await outside.assert_quiet()


async def test_a_connection_that_read_can_write_again(layer: DataLayer, outside: Outside) -> None:
    """READ ONLY belongs to the transaction: the pool must not hand it on."""
    for note in ("first", "second"):
        async with layer.reading() as session:
            await session.execute(text("SELECT 1"))
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": note})
    assert await outside.notes() == ["first", "second"]


async def test_business_transactions_run_as_the_serving_role(layer: DataLayer) -> None:
    """As the owner, row-level security would not bind them."""
    async with layer.transaction() as uow:
        (role,) = (await uow.execute(text("SELECT current_user"))).one()
    assert role == layer.settings.serving_role()


async def test_a_connection_that_breaks_is_an_error_of_ours(
    layer: DataLayer, outside: Outside
) -> None:
    """503 with a hint, and not a driver's exception."""
    with pytest.raises(DatabaseUnreachableError):
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "gone"})
            pid = (await uow.scalars(text("SELECT pg_backend_pid()"))).one()
            await outside.rows(f"SELECT pg_terminate_backend({pid:d})")
            await uow.execute(INSERT, {"note": "gone, too"})
    await outside.assert_quiet()
    assert await outside.counts() == (0, 0, 0)


async def test_a_commit_without_an_answer_ends_in_time(
    layer: DataLayer, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be cancelled, so a server that is silent must not hold its caller for ever."""
    monkeypatch.setattr("bedplate.commit.COMMIT_TIMEOUT", timedelta(milliseconds=100))
    with pytest.raises(DatabaseUnreachableError, match="rolled back") as caught:
        async with layer.transaction() as uow:
            await uow.execute(INSERT, {"note": "slow"})
    assert caught.value.data["reason"] == "rolled_back"
    assert await outside.counts() == (0, 0, 0)
    await outside.assert_quiet()


async def test_a_layer_that_is_not_open_says_so(librilabs_settings: Settings) -> None:
    """Without the check it would connect, and its role would be unchecked."""
    layer = DataLayer(librilabs_settings)
    with pytest.raises(TransactionError, match="not open"):
        layer.transaction()


async def test_a_forgotten_close_is_warned_of(librilabs_settings: Settings) -> None:
    """Its connections would stay open until the process ends."""
    layer = DataLayer(librilabs_settings, name="forgotten")
    await layer.open()
    with pytest.warns(ResourceWarning, match="forgotten"):
        layer.__del__()
    await layer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.__del__()


@pytest.mark.bad_day("Redis is down at the start", sees="starts; jobs wait in PostgreSQL")
async def test_a_layer_opens_while_redis_is_down(librilabs_settings: Settings) -> None:
    """Redis holds wake-ups and copies: without it rows and jobs commit as usual."""
    lost = librilabs_settings.model_copy(update={"redis_url": _closed_port()})
    async with DataLayer(lost) as layer, layer.transaction() as uow:
        await uow.execute(text("SELECT 1"))


async def test_the_id_is_a_uuid_that_rises(layer: DataLayer) -> None:
    """Jobs that are made one after another lie beside each other in the index."""
    async with layer.transaction() as uow:
        ids = [uow.enqueue(remember, str(index)) for index in range(5)]
    assert all(isinstance(each, UUID) and each.version == 7 for each in ids)
    assert ids == sorted(ids)


def _closed_port() -> Any:
    from pydantic import SecretStr

    return SecretStr("redis://127.0.0.1:1/0")
