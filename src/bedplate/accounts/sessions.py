"""Web sessions in Redis: a login outlives a restart of the API, a logout ends it at once.

The browser holds a random token of 256 bits; Redis holds what belongs to its SHA-256, so that a
stolen dump opens nobody's session. A session ends when it was idle for too long, when it is too
old, or when somebody ends it; Redis' own clock decides. Without Redis nobody is signed in: what
cannot be read is refused (`RedisUnreachableError`), never assumed. An end is said on a channel, so
that an open WebSocket knows at once (`watch.py`).
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bedplate.cache.channels import channel_name
from bedplate.errors import RedisUnreachableError

TOKEN_BYTES = 32
IDLE = timedelta(days=7)
LONGEST = timedelta(days=30)

# The server's clock: a session is as old for each API process. Read, and live on: one step.
OPEN = """
local now = tonumber(redis.call('TIME')[1])
local ends = now + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'ends', ends)
redis.call('EXPIRE', KEYS[1], math.min(tonumber(ARGV[2]), tonumber(ARGV[3])))
return 1
"""
READ = """
local found = redis.call('HMGET', KEYS[1], 'value', 'ends')
if not found[1] then return false end
local left = tonumber(found[2]) - tonumber(redis.call('TIME')[1])
if left <= 0 then
  redis.call('DEL', KEYS[1])
  return false
end
redis.call('EXPIRE', KEYS[1], math.min(left, tonumber(ARGV[1])))
return found[1]
"""


@dataclass(frozen=True, slots=True)
class WebSession:
    """Who is signed in, and what the system remembers of that sign-in."""

    user_id: str
    values: Mapping[str, Any]


class WebSessions:
    """The sessions of one system. `redis` is a client that returns texts."""

    def __init__(
        self, redis: Redis, system: str, *, idle: timedelta = IDLE, longest: timedelta = LONGEST
    ) -> None:
        self._redis = redis
        self._system = system
        self._idle = int(idle.total_seconds())
        self._longest = int(longest.total_seconds())
        self._open = redis.register_script(OPEN)
        self._read = redis.register_script(READ)

    async def begin(self, user_id: str, values: Mapping[str, Any] | None = None) -> str:
        """Sign a user in: the token of a new session. Ends none; see `end` and `end_all`.

        Always a new token, also for who had one before: what a stranger planted in a browser
        (session fixation) is worth nothing after the login. Raises `RedisUnreachableError`.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        value = json.dumps({"user_id": user_id, "values": dict(values or {})})
        try:
            # The list first: a session that no list names could not be ended by `end_all`.
            await self._redis.sadd(self._list(user_id), self._key(token))
            await self._redis.expire(self._list(user_id), self._longest)
            await self._open(keys=[self._key(token)], args=[value, self._longest, self._idle])
        except (RedisError, OSError) as error:
            raise _unreachable() from error
        return token

    async def read(self, token: str) -> WebSession | None:
        """The session of this token, which stays open for another while; None when it has ended.

        Raises `RedisUnreachableError`.
        """
        try:
            value = await self._read(keys=[self._key(token)], args=[self._idle])
        except (RedisError, OSError) as error:
            raise _unreachable() from error
        if value is None:
            return None
        found = json.loads(value)
        return WebSession(found["user_id"], found["values"])

    async def end(self, token: str) -> None:
        """Sign out: the token is worth nothing from now on. Raises `RedisUnreachableError`."""
        session = await self.read(token)
        try:
            await self._redis.delete(self._key(token))
            if session is not None:
                await self._redis.srem(self._list(session.user_id), self._key(token))
                await self._announce(session.user_id)
        except (RedisError, OSError) as error:
            raise _unreachable() from error

    async def end_all(self, user_id: str) -> int:
        """Sign a user out everywhere. Returns how many sessions ended.

        Raises `RedisUnreachableError`.
        """
        ended = 0
        try:
            for key in await self._redis.smembers(self._list(user_id)):
                ended += await self._redis.delete(key)
            await self._redis.delete(self._list(user_id))
            await self._announce(user_id)
        except (RedisError, OSError) as error:
            raise _unreachable() from error
        return ended

    async def _announce(self, user_id: str) -> None:
        """Have each process look whether those of this user's sessions that it serves still are."""
        channel = channel_name(self._system, endings_of(user_id))
        await self._redis.publish(channel, "ended")

    def _key(self, token: str) -> str:
        return f"{self._system}:session:{hashlib.sha256(token.encode()).hexdigest()}"

    def _list(self, user_id: str) -> str:
        return f"{self._system}:sessions_of:{user_id}"


def endings_of(user_id: str) -> str:
    """The channel, of no tenant, that says that a session of this user has ended."""
    return f"sessions_ended:{user_id}"


def _unreachable() -> RedisUnreachableError:
    return RedisUnreachableError(
        "the sessions cannot be read: Redis does not answer",
        hint="Nobody is signed in meanwhile; start Redis, or check REDIS_URL.",
    )
