"""Messages: taken by lock, deleted when acted on, put back or dead when not."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from bedplate.delivery import outbox
from bedplate.delivery.outbox import Message, PendingMessage
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id


async def insert(layer: DataLayer, *keys: str, kind: str = "cache.invalidate") -> list[UUID]:
    """Commit messages as the serving role."""
    pending = [PendingMessage(new_id(), kind, key, {"a": [1]}) for key in keys]
    async with layer.transaction() as uow:
        await outbox.insert(uow.session, pending)
    return [each.id for each in pending]


async def take(layer: DataLayer, *skipped: str) -> list[Message]:
    """What a relay would act on now."""
    async with layer.owner_database.engine.begin() as connection:
        return await outbox.take(connection, 10, skipped=skipped)


async def test_a_message_arrives_as_it_was_written(layer: DataLayer) -> None:
    """Every field of it is needed by whoever acts, and which transaction wrote it."""
    async with layer.transaction() as uow:
        message = PendingMessage(new_id(), "cache.invalidate", "key", {"a": [1]})
        await outbox.insert(uow.session, [message])
        transaction = await uow.session.scalar(text("SELECT txid_current()"))
    (taken,) = await take(layer)
    fields = (message.id, "cache.invalidate", "key", transaction, {"a": [1]}, 0)
    assert taken == Message(taken.place, *fields, taken.not_before)


async def test_two_relays_never_hold_the_same_message(layer: DataLayer) -> None:
    """Taken is locked until the commit: the other one gets the rest, and waits for nothing."""
    ids = await insert(layer, "a", "b", "c")
    engine = layer.owner_database.engine
    async with engine.begin() as one, engine.begin() as other:
        first = [message.id for message in await outbox.take(one, 2)]
        second = [message.id for message in await outbox.take(other, 2)]
    assert (first, second) == (ids[:2], ids[2:])


async def test_a_deleted_message_is_not_told_again(layer: DataLayer) -> None:
    """Deleted in the transaction that took it."""
    ids = await insert(layer, "a", "b")
    async with layer.owner_database.engine.begin() as connection:
        await outbox.delete(connection, (await outbox.take(connection, 10))[:1])
    assert [message.id for message in await take(layer)] == ids[1:]


async def test_a_kind_in_backoff_does_not_stop_the_others(layer: DataLayer) -> None:
    """A store that is down must not stop invalidations."""
    await insert(layer, "a", kind="file.delete")
    (other,) = await insert(layer, "b")
    assert [message.id for message in await take(layer, "file.delete")] == [other]


async def test_a_failed_message_waits_and_is_dead_after_the_last_attempt(layer: DataLayer) -> None:
    """Visible in the table, not in the way, and put back by hand."""
    ids = await insert(layer, "a")
    async with layer.owner_database.engine.begin() as connection:
        await outbox.put_back(connection, ids, error="down\0", backoff=timedelta(hours=1))
        assert await outbox.retry(connection, ids) == frozenset()
    assert await take(layer) == []
    async with layer.owner_database.engine.begin() as connection:
        await outbox.put_back(connection, ids, error="down", backoff=timedelta(0), max_attempts=2)
    assert await take(layer) == []
    async with layer.owner_database.engine.begin() as connection:
        assert await outbox.retry(connection, ids) == set(ids)
    assert [message.id for message in await take(layer)] == ids


async def test_the_lag_is_that_of_the_oldest_due_message(layer: DataLayer) -> None:
    """Dead ones and those in backoff are no sign of a relay that is down."""
    async with layer.owner_database.engine.connect() as connection:
        assert await outbox.lag(connection) is None
    await insert(layer, "a")
    age = text("UPDATE bedplate.outbox SET not_before = now() - interval '1 hour'")
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(age)
        lag = await outbox.lag(connection)
    assert lag is not None
    assert lag > timedelta(minutes=59)
