"""What is served for longer than a request knows at once that its session has ended."""

import asyncio
from datetime import timedelta

import pytest

from bedplate.accounts.sessions import WebSessions, endings_of
from bedplate.accounts.watch import until_ended
from bedplate.cache.channels import Publication
from bedplate.layer import DataLayer
from tests.integration.cache.valkey import until

PATIENCE_SECONDS = 30
NEVER = timedelta(hours=1)


async def watched(layer: DataLayer, token: str, look_every: timedelta) -> "asyncio.Task[None]":
    """Somebody who waits for the end of a session, and hears of it by now."""
    sessions = WebSessions(layer.redis.client(), "librilabs")
    waiting = asyncio.create_task(until_ended(layer, sessions, token, "ada", look_every=look_every))

    async def is_heard() -> bool:
        said = Publication(endings_of("ada"), "look")
        return await layer.channels.publish(said) > 0

    await until(is_heard, "somebody listens")
    return waiting


@pytest.mark.parametrize("how", ["logout", "everywhere"])
async def test_the_end_of_a_session_is_known_at_once(layer: DataLayer, how: str) -> None:
    """Also in another process; the ends of other sessions change nothing."""
    sessions = WebSessions(layer.redis.client(), "librilabs")
    token, other = await sessions.begin("ada"), await sessions.begin("ada")
    waiting = await watched(layer, token, NEVER)
    await sessions.end(other)
    await asyncio.wait((waiting,), timeout=0.1)
    assert not waiting.done()
    await (sessions.end(token) if how == "logout" else sessions.end_all("ada"))
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)


async def test_a_session_that_is_too_old_is_found(layer: DataLayer) -> None:
    """Redis lets it go without a word."""
    sessions = WebSessions(layer.redis.client(), "librilabs")
    token = await sessions.begin("ada")
    waiting = await watched(layer, token, timedelta(milliseconds=50))
    async for key in layer.redis.client().scan_iter("librilabs:session:*"):
        await layer.redis.client().delete(key)
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)
