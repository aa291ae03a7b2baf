"""Relays that die, stop, or hear nothing: what was committed is told all the same, and once done.

Faults 4, 5, 14 and 46. The relays are processes, and the steps at which they die are theirs.
"""

from datetime import timedelta

import pytest

from bedplate.delivery import outbox
from bedplate.delivery.broker import Broker
from bedplate.delivery.stand_in import StandIn
from bedplate.jobs.ledger import JobState
from bedplate.layer import DataLayer
from tests.faults import sample_system as sample
from tests.faults.look import Look
from tests.faults.processes import Processes
from tests.faults.rest import until

MESSAGES = "SELECT count(*) FROM bedplate.outbox WHERE dead_at IS NULL"
# The relay's only connection that is never in a transaction and whose last statement is LISTEN.
END_LISTENING = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE datname = current_database() AND query LIKE 'LISTEN%'
"""
HOLDS_MESSAGES = """
SELECT pid
  FROM pg_stat_activity
 WHERE datname = current_database() AND state = 'idle in transaction' AND query LIKE '%outbox%'
"""


async def cached(like: DataLayer, value: str | None = None) -> str | None:
    """What the cache holds of the order, for a process that has just begun; `value` is stored."""

    async def load() -> str:
        assert value is not None
        return value

    # A layer that commits tells the cache itself, once it has used it: the relay is to do it here.
    async with DataLayer(like.settings, name=like.name) as layer:
        if value is not None:
            await layer.cache.get_or_load("order:1", load, ttl=timedelta(minutes=5))
        return await layer.cache.get("order:1", str)


@pytest.mark.fault(4, holds="I3")
async def test_fault_04_relay_killed_after_marking_sends_after_the_deadline(
    look: Look, processes: Processes
) -> None:
    """Marked and not published: the deadline, and no message, says that the job is still to run."""
    job_id = await look.enqueue(sample.apply, "told")
    await processes.start("relay", failpoints="relay.after_mark=kill").until_ended()
    assert (await look.job(job_id)).state is JobState.SENT
    processes.start("worker")
    processes.start("relay")
    await look.until_state(job_id, JobState.SUCCEEDED)
    assert await look.effects(job_id) == ["told"]


@pytest.mark.fault(5, holds="I4")
async def test_fault_05_relay_killed_after_publishing_doubles_a_message_and_no_effect(
    look: Look, processes: Processes
) -> None:
    """Published and acted on, but the relay did not live to note it: told twice is done once."""
    job_id = await look.enqueue(sample.apply, "told")
    await processes.start("relay", failpoints="relay.after_publish=kill").until_ended()
    assert (await look.job(job_id)).state is JobState.SENT
    processes.start("relay")
    processes.start("worker")
    await look.until_state(job_id, JobState.SUCCEEDED)
    await look.at_rest()
    assert await look.effects(job_id) == ["told"]
    assert (await look.job(job_id)).attempt == 1


@pytest.mark.fault(5, holds="I9")
async def test_fault_05_relay_killed_before_it_deletes_a_message_acts_on_it_again(
    look: Look, faults_layer: DataLayer, processes: Processes
) -> None:
    """A key that came back between the two is gone after the second: the message was kept."""
    await cached(faults_layer, "stale")
    async with faults_layer.transaction() as uow:
        uow.invalidate("order:1")
    await processes.start("relay", failpoints="relay.before_delete=kill").until_ended()
    assert await cached(faults_layer) is None
    assert await look.rows(MESSAGES) == [1]
    assert await cached(faults_layer, "stale again") == "stale again"
    processes.start("relay")
    await look.at_rest()
    assert await cached(faults_layer) is None


@pytest.mark.fault(14, holds="I9")
async def test_fault_14_relay_stopped_with_locked_messages_loses_them_to_another(
    look: Look, faults_layer: DataLayer, processes: Processes
) -> None:
    """SIGSTOP inside its transaction: the server ends that, and another relay goes on."""
    await cached(faults_layer, "stale")
    async with faults_layer.transaction() as uow:
        uow.invalidate("order:1")
    # Without files: stopped in a sweep of them, it would hold that transaction for two minutes.
    stopped = processes.start("relay", failpoints="relay.after_take=stop", AWS_BUCKET_NAME="")
    await until(lambda: look.rows(HOLDS_MESSAGES), "the stopped relay holds its messages")
    processes.start("relay")
    job_id = await look.enqueue(sample.apply, "meanwhile")
    processes.start("worker")
    # What nobody holds goes out at once, what the stopped one holds when the server has ended it.
    await look.until_state(job_id, JobState.SUCCEEDED)
    await look.at_rest()
    assert await cached(faults_layer) is None
    stopped.go_on()
    await look.at_rest()
    assert stopped.is_alive


@pytest.mark.fault(46, holds="I3")
async def test_fault_46_relay_that_lost_its_listen_connection_polls(
    look: Look, processes: Processes
) -> None:
    """What was committed while it was deaf is found by looking, and it hears again afterwards."""
    relay = processes.start("relay")
    await relay.until_says("relaying")
    processes.start("worker")

    async def is_deaf() -> bool:
        return await look.rows(END_LISTENING) == [True]

    await until(is_deaf, "its LISTEN connection is ended")
    job_id = await look.enqueue(sample.apply, "unheard")
    await look.until_state(job_id, JobState.SUCCEEDED)
    await until(is_deaf, "it listens again")


async def test_without_a_relay_a_worker_delivers_slowly(
    look: Look, faults_layer: DataLayer, processes: Processes
) -> None:
    """A relay that is down costs seconds: the workers run a slow pass of their own."""
    processes.start("worker")
    async with faults_layer.transaction() as uow:
        job_id = uow.enqueue(sample.apply, "alone")
        uow.invalidate("order:1")
    await look.until_state(job_id, JobState.SUCCEEDED)
    await look.at_rest()


async def test_a_stand_in_leaves_to_relays_what_is_fresh(
    look: Look, faults_layer: DataLayer
) -> None:
    """Beside a relay that works it does nothing but look."""
    job_id = await look.enqueue(sample.apply, "fresh")
    async with Broker(faults_layer.settings.redis()) as broker:
        assert not await StandIn(faults_layer, broker).look()
        assert (await look.job(job_id)).state is JobState.READY
        assert await StandIn(faults_layer, broker, patience=timedelta(0)).look()
    assert (await look.job(job_id)).state is JobState.SENT


async def test_a_message_is_dead_after_its_last_attempt_and_put_back_by_retry(
    look: Look, faults_layer: DataLayer
) -> None:
    """Nothing is tried for ever, and nothing is dropped: it is seen, and retried by hand."""
    async with faults_layer.transaction() as uow:
        uow.invalidate("order:1")
    (message_id,) = await look.rows("SELECT id FROM bedplate.outbox")
    engine = faults_layer.owner_database.engine
    for _ in range(outbox.MAX_ATTEMPTS):
        async with engine.begin() as owner:
            assert [each.id for each in await outbox.take(owner, 10)] == [message_id]
            await outbox.put_back(owner, [message_id], error="refused", backoff=timedelta(0))
    async with engine.begin() as owner:
        assert await outbox.take(owner, 10) == []
    assert await look.rows("SELECT attempts, last_error FROM bedplate.outbox") == [(20, "refused")]
    async with engine.begin() as owner:
        assert await outbox.retry(owner, [message_id]) == {message_id}
        assert len(await outbox.take(owner, 10)) == 1
