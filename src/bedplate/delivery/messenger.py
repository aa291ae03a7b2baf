"""The messenger: acts on the messages of the outbox, and deletes them when that is done.

In one transaction it takes a batch, acts on it, and deletes it; what failed is put back with a
pause. So a crash in between means acting again. A destination that is away costs no message an
attempt: its kind rests. Called by the relay.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bedplate.delivery import outbox
from bedplate.delivery.actions import Action
from bedplate.delivery.backoff import Backoff
from bedplate.delivery.outbox import Message
from bedplate.delivery.progress import Progress
from bedplate.errors import BedplateError, UnreachableError
from bedplate.failpoints import failpoint
from bedplate.layer import DataLayer
from bedplate.rows.driver import DriverConnection, DriverTransaction

log = logging.getLogger("bedplate.delivery.relay")

# Messages of one transaction: its round trips are shared by so many, and they wait for one another.
MESSAGE_BATCH = 1000


class Messenger:
    """Acts on one layer's messages: one batch on the first connection, with a backlog on each."""

    def __init__(
        self,
        layer: DataLayer,
        connections: Sequence[DriverConnection],
        actions: Mapping[str, Action],
        *,
        batch: int = MESSAGE_BATCH,
    ) -> None:
        self._layer = layer
        self._connections = connections
        self._actions = actions
        self._batch = batch
        self._has_more = False
        self._progress = Progress()
        self._to_kinds = {kind: Backoff(kind) for kind in actions}

    async def act_on_messages(self) -> tuple[int, bool]:
        """On what is due now: how many are done, and whether more may be due."""
        resting = [kind for kind, backoff in self._to_kinds.items() if not backoff.is_open]
        for since in self._progress.looks():
            if self._has_more:
                # A full batch has more behind it for sure, and need not be asked for.
                return await self._act_on_many(resting, since)
            if await outbox.is_due(self._connections[0], skipped=resting, since=since):
                done, is_more = await self._act_on_due(self._connections[0], resting, since)
                self._has_more = is_more
                return done, is_more
            self._progress.note((), is_whole=since is None)
        return 0, False

    async def _act_on_many(
        self, resting: Sequence[str], since: datetime | None
    ) -> tuple[int, bool]:
        """As many batches side by side as there are connections; fails when one of them fails."""
        self._has_more = False
        ended = await asyncio.gather(
            *(self._act_on_due(each, resting, since) for each in self._connections),
            return_exceptions=True,
        )
        for error in ended:
            if isinstance(error, BaseException):
                raise error
        found = [each for each in ended if not isinstance(each, BaseException)]
        self._has_more = any(is_more for _, is_more in found)
        return sum(done for done, _ in found), self._has_more

    async def _act_on_due(
        self, connection: DriverConnection, resting: Sequence[str], since: datetime | None
    ) -> tuple[int, bool]:
        async with connection.transaction() as transaction:
            taken = await outbox.take(transaction, self._batch, skipped=resting, since=since)
            times = (message.not_before for message in taken)
            self._progress.note(times, is_whole=since is None)
            failpoint("relay.after_take")
            done = 0
            for kind in dict.fromkeys(message.kind for message in taken):
                same = [message for message in taken if message.kind == kind]
                if await self._act(transaction, kind, same):
                    done += len(same)
            failpoint("relay.before_delete")
        return done, len(taken) == self._batch and done > 0

    async def _act(
        self, transaction: DriverTransaction, kind: str, messages: list[Message]
    ) -> bool:
        action = self._actions.get(kind)
        if action is None:
            log.error("A message has a kind that nobody acts on", extra={"kind": kind})
            reason = f"no action for kind {kind}"
            await _put_back(transaction, messages, reason, timedelta(minutes=1))
            return False
        backoff = self._to_kinds[kind]
        try:
            await action(self._layer, messages)
        except (UnreachableError, RedisConnectionError, RedisTimeoutError, OSError) as error:
            # The destination's fault and not the messages': none of their attempts is spent.
            backoff.fail(error)
            return False
        except (BedplateError, RedisError) as error:
            reason = f"{type(error).__name__}: {error}"
            await _put_back(transaction, messages, reason, _pause_of(messages))
            return False
        await outbox.delete(transaction, messages)
        backoff.succeed()
        return True


async def _put_back(
    transaction: DriverTransaction, messages: Sequence[Message], reason: str, backoff: timedelta
) -> None:
    ids = [message.id for message in messages]
    await outbox.put_back(transaction, ids, error=reason, backoff=backoff)


def _pause_of(messages: Sequence[Message]) -> timedelta:
    """By the message that failed most often: 1, 2, 4 … seconds, at most some minutes."""
    return timedelta(seconds=1 << min(max(message.attempts for message in messages), 8))
