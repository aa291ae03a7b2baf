"""A feed gives each text once and in order, whatever the channel loses or repeats."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from bedplate.cache.channels import LIVE, Channels, Lost, Numbered, Publication
from bedplate.cache.connections import RedisPool
from bedplate.cache.feed import Fed, Feed
from bedplate.errors import DatabaseUnreachableError

PATIENCE_SECONDS = 30


class Kept:
    """Where the texts are kept; `is_away` has it fail."""

    def __init__(self) -> None:
        self.rows: list[Numbered] = []
        self.reads = 0
        self.is_away = False

    def add(self, count: int = 1) -> list[Numbered]:
        """Some more."""
        first = len(self.rows) + 1
        more = [Numbered(index, f"text {index}") for index in range(first, first + count)]
        self.rows += more
        return more

    async def read(self, after: int) -> Sequence[Numbered]:
        """As a query does."""
        self.reads += 1
        if self.is_away:
            raise DatabaseUnreachableError("it is away")
        return self.rows[after:]


@pytest.fixture
async def channels(redis_url: str) -> AsyncIterator[Channels]:
    """One process' channels."""
    async with RedisPool(redis_url) as pool:
        opened = Channels(redis_url, "library", pool.client)
        yield opened
        await opened.close()


async def take(feed: AsyncIterator[Fed], count: int) -> list[Fed]:
    """So many of a feed."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [await anext(feed) for _ in range(count)]


async def say(channels: Channels, *numbered: Numbered) -> None:
    """As the commits that kept them do."""
    for each in numbered:
        await channels.publish(Publication("room", each.text, position=each.position))


async def test_what_comes_twice_or_late_comes_once(channels: Channels) -> None:
    """The relay says it again; two processes say theirs in the other order."""
    kept = Kept()
    async with contextlib.aclosing(
        Feed(channels, "room", None, kept.read, after=0).follow()
    ) as feed:
        assert await take(feed, 1) == [LIVE]
        one, two, three = kept.add(3)
        await say(channels, one, one, three, two, three, *kept.add())
        assert await take(feed, 4) == kept.rows


async def test_a_jump_is_filled_from_the_rows(channels: Channels) -> None:
    """Whoever kept them died before it could say so."""
    kept = Kept()
    async with contextlib.aclosing(
        Feed(channels, "room", None, kept.read, after=0).follow()
    ) as feed:
        await take(feed, 1)
        *_, last = kept.add(5)
        await say(channels, last)
        assert await take(feed, 5) == kept.rows


async def test_what_was_kept_while_it_was_lost_comes_before_live(channels: Channels) -> None:
    """So a follower that is live has all there is."""
    kept = Kept()
    kept.add(2)
    feed = Feed(channels, "room", None, kept.read, after=0)
    async with contextlib.aclosing(feed.follow()) as followed:
        assert await take(followed, 3) == [*kept.rows, LIVE]
        feed._subscription.tell(Lost("for a test"))
        more = kept.add(2)
        feed._subscription.tell(LIVE)
        assert await take(followed, 4) == [Lost("for a test"), *more, LIVE]


async def test_what_nobody_says_is_found_after_a_while(channels: Channels) -> None:
    """The last one, with no other after it that would show the jump."""
    kept = Kept()
    look_every = timedelta(milliseconds=50)
    feed = Feed(channels, "room", None, kept.read, after=0, look_every=look_every)
    async with contextlib.aclosing(feed.follow()) as followed:
        await take(followed, 1)
        added = kept.add()
        assert await take(followed, 1) == added


async def test_rows_that_cannot_be_read_are_asked_for_again(channels: Channels) -> None:
    """Nothing is skipped, and the follower lives."""
    kept = Kept()
    kept.is_away = True
    async with contextlib.aclosing(
        Feed(channels, "room", None, kept.read, after=0).follow()
    ) as feed:
        assert await take(feed, 1) == [LIVE]
        kept.add(3)
        await say(channels, kept.rows[1])
        waiting = asyncio.create_task(take(feed, 3))
        while kept.reads < 2:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        kept.is_away = False
        await say(channels, kept.rows[2])
        assert await waiting == kept.rows
