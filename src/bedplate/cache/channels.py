"""Channels: what one process publishes is heard by every process that has subscribed.

    async with layer.channels.subscribe("room:7", tenant="acme") as heard:
        async for each in heard:        # a text, or LIVE, or Lost
            ...
    await layer.channels.publish(Publication("room:7", "hello", tenant="acme"))

All subscriptions of a process share one connection, which comes back by itself. Redis keeps
nothing for who is away: between `Lost` and the next `LIVE` texts are missed, and a subscriber is
always told of both, so it knows when to read what it missed from where that is kept. The last
ones of a channel can be kept in Redis, too (`recent`). A reader that is too slow is told the same,
and holds up nobody. `uow.publish` says it with the commit of a transaction.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bedplate.cache.channel_line import Line
from bedplate.cache.keys import bounded
from bedplate.errors import RedisUnreachableError
from bedplate.urls import redact

log = logging.getLogger("bedplate.cache.channels")

MOST_WAITING = 1000
LARGEST_TEXT_BYTES = 1 << 18
KEPT_LASTS = timedelta(hours=24)

# KEYS the kept ones · ARGV channel, text, position, how many are kept, milliseconds they last
# One step: who reads what is kept after it has subscribed misses nothing. Twice is once.
PUBLISH_AND_KEEP = """
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[4]) - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return redis.call('PUBLISH', ARGV[1], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Publication:
    """A text for a channel, by the tenant whose channel it is.

    With a `position`, which grows, it is heard as `Numbered.form` writes it, and the `kept` highest
    stay in Redis for a day after the last one; published twice they are kept once.
    """

    channel: str
    text: str
    tenant: str | None = None
    position: int | None = None
    kept: int = 100

    def check(self) -> None:
        """Raise `ValueError` when it is too long, or has a NUL, which no row can hold."""
        if "\0" in self.text or len(self.text.encode()) > LARGEST_TEXT_BYTES:
            raise ValueError(
                f"a text on a channel has no NUL and {LARGEST_TEXT_BYTES} bytes at most"
            )


@dataclass(frozen=True, slots=True)
class Numbered:
    """A text that has a position in its channel."""

    position: int
    text: str

    def form(self) -> str:
        """As it goes over the channel."""
        return f"{self.position} {self.text}"

    @classmethod
    def parse(cls, heard: str) -> Self:
        """Back from `form`. Raises `ValueError`."""
        position, _, text = heard.partition(" ")
        return cls(int(position), text)


@dataclass(frozen=True, slots=True)
class Live:
    """From now on every text is heard; some may have been missed before."""


@dataclass(frozen=True, slots=True)
class Lost:
    """From now on texts are missed, until `LIVE`."""

    why: str


LIVE: Final = Live()
Heard = str | Live | Lost


class Subscription:
    """What a channel says, in order: `async with`, then `async for`. Made by `Channels`."""

    def __init__(self, channels: "Channels", name: str, most_waiting: int) -> None:
        self.name = name
        self._channels = channels
        self._most_waiting = most_waiting
        self._waiting: deque[Heard] = deque()
        self._has_any = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._channels._add(self)  # noqa: SLF001 - the two are one thing
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channels._remove(self)  # noqa: SLF001

    async def __aiter__(self) -> AsyncIterator[Heard]:
        while True:
            yield await self.next()

    async def next(self) -> Heard:
        """The next text, `LIVE` or `Lost`. The first is one of these two."""
        while not self._waiting:
            self._has_any.clear()
            await self._has_any.wait()
        return self._waiting.popleft()

    def tell(self, heard: Heard) -> None:
        """Put it last; never waits."""
        if len(self._waiting) >= self._most_waiting:
            self._waiting.clear()
            self._waiting.extend((Lost("this reader is too slow"), LIVE))
        self._waiting.append(heard)
        self._has_any.set()


class Channels:
    """One process' channels. Connects at the first subscription; use it from one loop, close it."""

    def __init__(self, url: str, system: str, redis: Callable[[], Redis]) -> None:
        self._url = url
        self._system = system
        self._redis = redis
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._line: Line | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Channels {self._system} {redact(self._url)}>"

    def subscribe(
        self, channel: str, *, tenant: str | None = None, most_waiting: int = MOST_WAITING
    ) -> Subscription:
        """A subscription to a tenant's channel; begins with `async with`.

        Of more than `most_waiting` that it has not taken it loses all, and is told so.
        """
        return Subscription(self, self._name(channel, tenant), most_waiting)

    async def publish(self, publication: Publication) -> int:
        """Say it now, outside of any transaction. Raises `RedisUnreachableError`, `ValueError`.

        Returns how many connections heard it: one per process, whatever it has of subscriptions.
        """
        publication.check()
        name = self._name(publication.channel, publication.tenant)
        try:
            if publication.position is None:
                return int(await self._redis().publish(name, publication.text))
            keep: Any = self._redis().register_script(PUBLISH_AND_KEEP)
            milliseconds = int(KEPT_LASTS.total_seconds() * 1000)
            text = Numbered(publication.position, publication.text).form()
            arguments = [name, text, publication.position, publication.kept]
            return int(await keep(keys=[_kept(name)], args=[*arguments, milliseconds]))
        except (RedisError, OSError) as error:
            raise _unreachable(self._url, error) from error

    def publish_soon(self, publications: Iterable[Publication]) -> None:
        """After a commit: say it without waiting. What fails is left to the relay."""

        async def send() -> None:
            for each in waiting:
                with contextlib.suppress(RedisUnreachableError):
                    await self.publish(each)

        if waiting := list(publications):
            task = asyncio.create_task(send(), name="publish after a commit")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def recent(
        self, channel: str, *, tenant: str | None = None, after: int = 0
    ) -> list[Numbered]:
        """Those that are kept, by position, after one. Raises as `publish`.

        Empty also when Redis has lost them: they are a copy.
        """
        key = _kept(self._name(channel, tenant))
        try:
            found = await self._redis().zrange(key, f"({after}", "+inf", byscore=True)
        except (RedisError, OSError) as error:
            raise _unreachable(self._url, error) from error
        return [Numbered.parse(str(each)) for each in found]

    async def close(self) -> None:
        """Close the connection. Who still listens hears nothing more."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._line is not None:
            await self._line.close()
            self._line = None

    def _name(self, channel: str, tenant: str | None) -> str:
        return channel_name(self._system, channel, tenant)

    def _add(self, subscription: Subscription) -> None:
        self._subscriptions.setdefault(subscription.name, set()).add(subscription)
        if self._line is None:
            self._line = Line(self._url, self._told, self._confirm, self._lose)
        if subscription.name in self._line.confirmed:
            subscription.tell(LIVE)
        elif self._line.why_lost is not None:
            subscription.tell(Lost(self._line.why_lost))
        self._line.want(self._subscriptions.keys())

    def _remove(self, subscription: Subscription) -> None:
        others = self._subscriptions.get(subscription.name, set())
        others.discard(subscription)
        if not others:
            self._subscriptions.pop(subscription.name, None)
        if self._line is not None:
            self._line.want(self._subscriptions.keys())

    def _told(self, name: str, text: str) -> None:
        for each in self._subscriptions.get(name, ()):
            each.tell(text)

    def _confirm(self, name: str) -> None:
        for each in self._subscriptions.get(name, ()):
            each.tell(LIVE)

    def _lose(self, why: str) -> None:
        log.warning("Channels are not heard", extra={"error": why})
        for group in self._subscriptions.values():
            for each in group:
                each.tell(Lost(why))


def channel_name(system: str, channel: str, tenant: str | None = None) -> str:
    """What a channel is called in Redis, for who publishes with a client of its own."""
    whose = "" if tenant is None else quote(tenant, safe="")
    return f"{system}:channel:{{{whose}:{bounded(channel)}}}"


def _kept(name: str) -> str:
    return f"{name}:kept"


def _unreachable(url: str, error: Exception) -> RedisUnreachableError:
    return RedisUnreachableError(
        f"Redis at {redact(url)} cannot be told: {redact(str(error))}",
        hint="Who listens hears nothing meanwhile; start Redis, or check REDIS_URL.",
    )
