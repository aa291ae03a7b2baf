"""The relay against a real Redis: what it tells, what it keeps, and what it does again."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from bedplate.delivery.broker import Broker, queue_name
from bedplate.delivery.outbox import INVALIDATE, Message
from bedplate.delivery.relay import Delivered, Relay
from bedplate.errors import RedisUnreachableError
from bedplate.failpoints import VARIABLE, FailpointError
from bedplate.jobs.leases import claim
from bedplate.jobs.ledger import JobState
from bedplate.jobs.ledger_connection import LedgerConnection
from bedplate.layer import DataLayer
from tests.integration.delivery import sample_system as sample
from tests.integration.delivery.ledger_view import LedgerView, until

DEFAULT = queue_name(sample.NAME, "default")
NOWHERE = "redis://127.0.0.1:1/0"
AT_ONCE = timedelta(0)


@pytest.fixture
def redis(sample_layer: DataLayer) -> Redis:
    """Redis, looked at from outside."""
    return sample_layer.redis.client()


async def test_ready_jobs_are_marked_and_published(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """Marked first: a relay that dies in between leaves a deadline, and no job in limbo."""
    ids = [await view.enqueue(sample.note, str(number)) for number in range(3)]
    assert await Relay(sample_layer, broker).drain() == Delivered(jobs=3)
    assert [(await view.load(job_id)).state for job_id in ids] == [JobState.SENT] * 3
    assert await broker.waiting(sample.NAME, "default") == 3


async def test_a_message_names_a_system_and_an_id_and_nothing_else(
    view: LedgerView, sample_layer: DataLayer, broker: Broker, redis: Redis
) -> None:
    """Redis is no place for arguments: they may be secret, and anyone may have changed them."""
    job_id = await view.enqueue(sample.note, "canary-4711")
    await Relay(sample_layer, broker).drain()
    (raw,) = await redis.lrange(DEFAULT, 0, -1)
    assert str(job_id) in raw
    assert "canary-4711" not in raw


async def test_with_redis_down_jobs_stay_ready(
    view: LedgerView, sample_layer: DataLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """A lost broker costs time only, and is said once, not each second."""
    job_id = await view.enqueue(sample.note, "later")
    async with Broker(NOWHERE) as nowhere:
        relay = Relay(sample_layer, nowhere)
        for _ in range(3):
            assert await relay.drain() == Delivered()
    assert (await view.load(job_id)).state is JobState.READY
    warnings = [record for record in caplog.records if "does not answer" in record.message]
    assert len(warnings) == 1


async def test_a_broker_that_is_away_raises_what_it_is(broker: Broker) -> None:
    """The relay tells an unreachable Redis from an error of its own."""
    async with Broker(NOWHERE) as nowhere:
        with pytest.raises(RedisUnreachableError) as raised:
            await nowhere.waiting("sample", "default")
    assert "127.0.0.1:1" in str(raised.value)


async def test_a_lost_message_is_sent_again_after_its_deadline(
    view: LedgerView, sample_layer: DataLayer, broker: Broker, redis: Redis
) -> None:
    """FLUSHALL by an operator, a Redis without persistence: fewer messages than sent jobs."""
    await view.enqueue(sample.note, "x")
    relay = Relay(sample_layer, broker, deadline=AT_ONCE)
    await relay.drain()
    await redis.delete(DEFAULT)
    assert await relay.drain() == Delivered(jobs=1, rescued=1)
    assert await redis.llen(DEFAULT) == 1


async def test_a_message_that_waits_for_a_busy_worker_is_not_doubled(
    view: LedgerView, sample_layer: DataLayer, broker: Broker, redis: Redis
) -> None:
    """Else a backlog of slow jobs grows in Redis by its own length at every deadline."""
    for number in range(3):
        await view.enqueue(sample.note, str(number))
    await Relay(sample_layer, broker, deadline=AT_ONCE).drain()
    assert await Relay(sample_layer, broker).drain() == Delivered()
    assert await redis.llen(DEFAULT) == 3


async def test_no_more_is_sent_than_the_window(
    view: LedgerView, sample_layer: DataLayer, broker: Broker, redis: Redis
) -> None:
    """The rest waits in PostgreSQL, where priority still counts."""
    for number in range(5):
        await view.enqueue(sample.note, str(number))
    relay = Relay(sample_layer, broker, window=2, batch=1)
    assert (await relay.drain()).jobs == 2
    assert await redis.llen(DEFAULT) == 2


async def test_two_relays_send_each_job_once(
    view: LedgerView, sample_layer: DataLayer, broker: Broker, redis: Redis
) -> None:
    """Any number may run: they skip what another has locked."""
    for number in range(20):
        await view.enqueue(sample.note, str(number))
    relays = [Relay(sample_layer, broker, batch=3) for _ in range(2)]
    done = await asyncio.gather(*(relay.drain() for relay in relays))
    assert sum(each.jobs for each in done) == 20
    assert await redis.llen(DEFAULT) == 20


async def test_a_backlog_is_told_in_batches_side_by_side(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """One is taken while the other is told; what one of them loses on its way is told again."""
    keys = {f"key:{number}" for number in range(20)}
    async with sample_layer.transaction() as uow:
        uow.invalidate(*keys)
    told: list[set[str]] = []
    third_has_begun = asyncio.Event()
    begun = 0

    async def act(_layer: DataLayer, messages: Sequence[Message]) -> None:
        nonlocal begun
        begun += 1
        if begun == 2:
            await third_has_begun.wait()
        elif begun == 3:
            third_has_begun.set()
            raise ConnectionResetError("gone in the middle of it")
        told.append({message.key for message in messages})

    actions = {INVALIDATE: act}
    first = await Relay(sample_layer, broker, actions=actions, message_batch=3).drain()
    rest = await Relay(sample_layer, broker, actions=actions, message_batch=3).drain()
    assert first.messages + rest.messages == sum(len(each) for each in told) == 20
    assert set().union(*told) == keys


async def test_an_expired_lease_is_offered_again_and_counted(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """A worker that was killed says nothing; its deadline does."""
    job_id = await view.enqueue(sample.note, "x")
    ledger = LedgerConnection(sample_layer.owner_database)
    assert await claim(ledger, job_id, "gone:1", AT_ONCE) is not None
    await ledger.close()
    assert await Relay(sample_layer, broker).drain() == Delivered(jobs=1, rescued=1)
    job = await view.load(job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.SENT, 1, 1)


@pytest.mark.fault(4, holds="I3", every_run=True)
async def test_fault_04_killed_after_marking_the_job_runs_after_its_deadline(
    view: LedgerView,
    sample_layer: DataLayer,
    broker: Broker,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The step between marking and publishing loses the message, never the job."""
    job_id = await view.enqueue(sample.note, "x")
    monkeypatch.setenv(VARIABLE, "relay.after_mark=raise")
    with pytest.raises(FailpointError):
        await Relay(sample_layer, broker, deadline=AT_ONCE).drain()
    monkeypatch.delenv(VARIABLE)
    assert (await view.load(job_id)).state is JobState.SENT
    assert await redis.llen(DEFAULT) == 0
    assert (await Relay(sample_layer, broker).drain()).jobs == 1


async def test_an_invalidation_is_acted_on_then_deleted(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """A key of the cache is forgotten once the change that it copies has committed."""

    async def load() -> str:
        return "old"

    # Of another process, which the commit cannot tell directly.
    async with DataLayer(sample_layer.settings, name=sample_layer.name) as other:
        await other.cache.get_or_load("order:1", load, ttl=timedelta(minutes=1))
        async with sample_layer.transaction() as uow:
            uow.invalidate("order:1", "order:2")
        assert await other.cache.get("order:1", str) == "old"
        assert (await Relay(sample_layer, broker).drain()).messages == 2
    assert await sample_layer.cache.get("order:1", str) is None
    assert await view.scalar("SELECT count(*) FROM bedplate.outbox") == 0


@pytest.mark.fault(5, holds="I4 I9", every_run=True)
async def test_fault_05_killed_before_deleting_a_message_it_is_acted_on_again(
    view: LedgerView,
    sample_layer: DataLayer,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At least once: to forget a key twice is to forget it once."""
    async with sample_layer.transaction() as uow:
        uow.invalidate("order:1")
    monkeypatch.setenv(VARIABLE, "relay.before_delete=raise")
    with pytest.raises(FailpointError):
        await Relay(sample_layer, broker).drain()
    monkeypatch.delenv(VARIABLE)
    assert await view.scalar("SELECT count(*) FROM bedplate.outbox") == 1
    assert (await Relay(sample_layer, broker).drain()).messages == 1


async def test_a_destination_that_is_down_spends_no_attempt(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """A Redis that is away for an hour must not bury the invalidations of that hour."""

    async def fail(_layer: DataLayer, _messages: object) -> None:
        raise ConnectionRefusedError("down")

    async with sample_layer.transaction() as uow:
        uow.invalidate("order:1")
    relay = Relay(sample_layer, broker, actions={"cache.invalidate": fail})
    await view.enqueue(sample.note, "jobs go on meanwhile")
    assert await relay.drain() == Delivered(jobs=1)
    attempts = await view.scalar("SELECT sum(attempts) FROM bedplate.outbox")
    assert attempts == 0


async def test_a_commit_wakes_the_relay_before_its_poll(
    view: LedgerView, sample_layer: DataLayer, broker: Broker
) -> None:
    """With a poll of minutes only the NOTIFY can have told it."""
    relay = Relay(sample_layer, broker, poll=timedelta(minutes=5))
    running = asyncio.create_task(relay.run())
    await until(lambda: _true(relay.is_listening), "the relay listens")
    job_id = await view.enqueue(sample.note, "now")
    await view.until_state(job_id, JobState.SENT)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def _true(value: bool) -> bool | None:
    return value or None
