"""What is to be forgotten after a commit: a key or a tag, and by which transaction.

Made by the unit of work, which writes it into the outbox; told to Redis by the committing process
at once, and by the relay for sure.
"""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from bedplate.cache.keys import Keyspace, state_key, value_key
from bedplate.cache.link import Argument, Link, LinkLostError
from bedplate.cache.scripts import FORGET, FORGET_TAG

# A standby that lags further behind than this may have an old value stored, until its TTL.
FLOOR_LASTS = timedelta(hours=1)
# Longer than any entry; a tag that is gone makes its entries misses, and no more.
TAG_LASTS = timedelta(days=8)


class Invalidation(NamedTuple):
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


def send(link: Link | None, named: Mapping[str, Invalidation]) -> "asyncio.Future[Any]":
    """Have Redis forget these, by their names: one tag, or keys. Raises `LinkLostError`."""
    if link is None:
        raise LinkLostError("the connection to Redis is not open")
    keys: list[str] = []
    arguments: list[Argument] = [milliseconds(FLOOR_LASTS)]
    for name, each in named.items():
        key = value_key(name, link.incarnation)
        if each.is_tag:
            lasts = milliseconds(TAG_LASTS)
            return link.evaluate(FORGET_TAG, [key], new_version(), each.transaction, lasts)
        keys += (key, state_key(name, link.incarnation))
        arguments.append(each.transaction)
    return link.evaluate(FORGET, keys, *arguments)


def new_version() -> str:
    """A tag's version: random, since a counter that Redis lost would begin anew."""
    return secrets.token_hex(8)


def milliseconds(duration: timedelta) -> int:
    """As Redis takes durations."""
    return int(duration.total_seconds() * 1000)
