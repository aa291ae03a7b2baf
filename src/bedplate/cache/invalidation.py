"""What is to be forgotten after a commit: a key or a tag, and by which transaction.

Made by the unit of work, which writes it into the outbox; told to Redis by the committing process
at once, and by the relay for sure.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bedplate.cache.keys import Keyspace, state_key, value_key
from bedplate.cache.link import Link
from bedplate.cache.scripts import FORGET, FORGET_TAG

# A standby that lags further behind than this may have an old value stored, until its TTL.
FLOOR_LASTS = timedelta(hours=1)
# Longer than any entry; a tag that is gone makes its entries misses, and no more.
TAG_LASTS = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Invalidation:
    """One key or tag, bounded (see `keys.bounded`). `transaction`: its id, 0 when not known."""

    key: str
    tenant: str | None = None
    is_tag: bool = False
    transaction: int = 0

    def name(self, keyspace: Keyspace) -> str:
        """Its name in Redis, without the incarnation."""
        if self.is_tag:
            return keyspace.tag(self.tenant, self.key)
        return keyspace.entry(self.tenant, self.key)

    def send(self, link: Link, name: str) -> "asyncio.Future[Any]":
        """Have Redis forget it. Raises `LinkLostError`."""
        key = value_key(name, link.incarnation)
        if self.is_tag:
            lasts = milliseconds(TAG_LASTS)
            return link.evaluate(FORGET_TAG, [key], new_version(), self.transaction, lasts)
        keys = [key, state_key(name, link.incarnation)]
        return link.evaluate(FORGET, keys, self.transaction, milliseconds(FLOOR_LASTS))


def new_version() -> str:
    """A tag's version: random, since a counter that Redis lost would begin anew."""
    return secrets.token_hex(8)


def milliseconds(duration: timedelta) -> int:
    """As Redis takes durations."""
    return int(duration.total_seconds() * 1000)
