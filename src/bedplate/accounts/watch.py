"""Until a session has ended: for who serves it for longer than a request, such as a WebSocket.

    ended = asyncio.create_task(until_ended(layer, sessions, token, user_id))

A logout, `end_all` and a session that is too old end it at once in every process. While Redis is
away nothing can be known: it is asked when it is back.
"""

import asyncio
from datetime import timedelta

from bedplate.accounts.sessions import WebSessions, endings_of
from bedplate.cache.channels import Lost
from bedplate.errors import RedisUnreachableError
from bedplate.layer import DataLayer

# Sessions that are too old end without a word.
LOOK_EVERY = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=1)


async def until_ended(
    layer: DataLayer,
    sessions: WebSessions,
    token: str,
    user_id: str,
    *,
    look_every: timedelta = LOOK_EVERY,
) -> None:
    """Return when the session of this token, of this user, is no more."""
    pause = look_every
    async with layer.channels.subscribe(endings_of(user_id)) as heard:
        while True:
            try:
                async with asyncio.timeout(pause.total_seconds()):
                    if isinstance(await heard.next(), Lost):
                        continue
            except TimeoutError:
                pass
            try:
                session = await sessions.read(token)
            except RedisUnreachableError:
                # It may be back already, and only a connection be broken.
                pause = min(look_every, LOOK_AGAIN)
                continue
            if session is None or session.user_id != user_id:
                return
            pause = look_every
