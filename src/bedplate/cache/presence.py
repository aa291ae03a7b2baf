"""Who is there: members of a place, each by one or more connections that must say so again.

    presence = Presence(layer.redis.client(), "shop", lasts=timedelta(seconds=30))
    is_first = await presence.enter(place, connection_id, Present("ann", '{"name": "Ann"}'))

A connection that says nothing for `lasts` is gone: its process may have died. `sweep` gives each
member that vanished so to exactly one caller. Each call is one script, one step for everyone, by
the server's clock. All raise `RedisUnreachableError`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bedplate.cache.keys import bounded
from bedplate.errors import RedisUnreachableError

# KEYS who, until: connection -> [member, about] as JSON, and the same by when it is gone.
_PRELUDE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function is_there(member, but)
  for _, connection in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf')) do
    if connection ~= but then
      local who = redis.call('HGET', KEYS[1], connection)
      if who and cjson.decode(who)[1] == member then return true end
    end
  end
  return false
end
"""

# ARGV milliseconds, then connection, who, connection, who … Returns how many came that were not.
ENTER = (
    _PRELUDE
    + """
local came = 0
for index = 2, #ARGV, 2 do
  if not is_there(cjson.decode(ARGV[index + 1])[1], nil) then came = came + 1 end
  redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
  redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[index])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 4)
redis.call('PEXPIRE', KEYS[2], ARGV[1] * 4)
return came
"""
)

# ARGV connection. Returns 1 when its member has no other one here.
LEAVE = (
    _PRELUDE
    + """
local who = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if not who or is_there(cjson.decode(who)[1], nil) then return 0 end
return 1
"""
)

# Returns who is there, members with several connections several times.
LIST = (
    _PRELUDE
    + """
local found = {}
for _, connection in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf')) do
  local who = redis.call('HGET', KEYS[1], connection)
  if who then found[#found + 1] = who end
end
return found
"""
)

# Removes the connections whose time is over; returns their members that have no other.
SWEEP = (
    _PRELUDE
    + """
local gone = {}
for _, connection in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  local who = redis.call('HGET', KEYS[1], connection)
  redis.call('HDEL', KEYS[1], connection)
  redis.call('ZREM', KEYS[2], connection)
  if who and not is_there(cjson.decode(who)[1], nil) then gone[#gone + 1] = who end
end
return gone
"""
)


@dataclass(frozen=True, slots=True)
class Present:
    """A member that is there, and what is said about it, any text."""

    member: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody can be: a room of a tenant."""

    name: str
    tenant: str | None = None


class Presence:
    """Who is where, in one system. `redis` is a client that returns texts."""

    def __init__(
        self, redis: Redis, system: str, *, lasts: timedelta = timedelta(seconds=30)
    ) -> None:
        self.lasts = lasts
        self._system = system
        self._scripts: Mapping[str, Any] = {
            script: redis.register_script(script) for script in (ENTER, LEAVE, LIST, SWEEP)
        }

    async def enter(self, place: Place, connection: str, who: Present) -> bool:
        """A connection is there; whether its member was not before."""
        return bool(await self._run(ENTER, place, self._milliseconds, connection, _packed(who)))

    async def stay(self, place: Place, connections: Mapping[str, Present]) -> None:
        """These connections are still there: say it well before `lasts` is over.

        It also brings back what a Redis that was emptied has forgotten.
        """
        if connections:
            told = [text for key, who in connections.items() for text in (key, _packed(who))]
            await self._run(ENTER, place, self._milliseconds, *told)

    async def leave(self, place: Place, connection: str) -> bool:
        """A connection is gone; whether its member is, too."""
        return bool(await self._run(LEAVE, place, connection))

    async def present(self, place: Place) -> list[Present]:
        """Who is there, each once, by member."""
        found = {who.member: who for who in map(_unpacked, await self._run(LIST, place))}
        return [found[member] for member in sorted(found)]

    async def sweep(self, place: Place) -> list[Present]:
        """Take away whose time is over; the members that are gone by that, each told once."""
        found = {who.member: who for who in map(_unpacked, await self._run(SWEEP, place))}
        return [found[member] for member in sorted(found)]

    @property
    def _milliseconds(self) -> int:
        return int(self.lasts.total_seconds() * 1000)

    async def _run(self, script: str, place: Place, *arguments: str | int) -> Any:
        whose = "" if place.tenant is None else quote(place.tenant, safe="")
        name = f"{self._system}:presence:{{{whose}:{bounded(place.name)}}}"
        try:
            return await self._scripts[script](
                keys=[f"{name}:who", f"{name}:until"], args=arguments
            )
        except (RedisError, OSError) as error:
            raise RedisUnreachableError(
                "who is there cannot be told: Redis does not answer",
                hint="Start Redis, or check REDIS_URL.",
            ) from error


def _packed(who: Present) -> str:
    return json.dumps([who.member, who.about])


def _unpacked(text: str) -> Present:
    return Present(*json.loads(text))
