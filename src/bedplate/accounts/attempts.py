"""How often a password may be tried: for one account, from one address, and both together.

    await attempts.begin(email, address)        # TooManyAttemptsError: 429 with Retry-After
    ... compare the password ...
    await attempts.succeed(email, address)      # only what went wrong counts on

Counted in Redis, so for all API processes together, and before the comparison, so that many at
once are not let through. An account has a wider bound than an account from one address: whoever
knows only its name cannot easily keep its owner out. Redis holds digests, no names. Without Redis
nobody tries (`RedisUnreachableError`).
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bedplate.errors import RedisUnreachableError, TooManyAttemptsError

# Every bound is looked at before any counts: who is refused does not push the end further away.
BEGIN = """
local wait = 0
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[i + 1]) then
    wait = math.max(wait, redis.call('TTL', key), 1)
  end
end
if wait > 0 then return wait end
for _, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then redis.call('EXPIRE', key, ARGV[1]) end
end
return 0
"""
SUCCEED = """
redis.call('DEL', KEYS[1])
for i = 2, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
return 1
"""


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How many within a period, which begins with the first one that counts."""

    account_and_address: int = 5
    account: int = 50
    address: int = 100
    period: timedelta = timedelta(minutes=15)


class Attempts:
    """The attempts of one system's logins. `redis` is a client that returns texts."""

    def __init__(self, redis: Redis, system: str, limits: AttemptLimits | None = None) -> None:
        self.limits = limits or AttemptLimits()
        self._system = system
        self._begin = redis.register_script(BEGIN)
        self._succeed = redis.register_script(SUCCEED)

    async def begin(self, account: str, address: str) -> None:
        """Count an attempt. Raises `TooManyAttemptsError`, `RedisUnreachableError`."""
        limits = self.limits
        bounds = [limits.account_and_address, limits.account, limits.address]
        seconds = int(limits.period.total_seconds())
        try:
            wait = int(
                await self._begin(keys=self._keys(account, address), args=[seconds, *bounds])
            )
        except (RedisError, OSError) as error:
            raise _unreachable() from error
        if wait > 0:
            raise TooManyAttemptsError(
                "There were too many attempts.",
                hint=f"Try again in {wait} seconds.",
                retry_after=timedelta(seconds=wait),
            )

    async def succeed(self, account: str, address: str) -> None:
        """Forget this attempt, and the account's failures from here. Raises as `begin`."""
        try:
            await self._succeed(keys=self._keys(account, address))
        except (RedisError, OSError) as error:
            raise _unreachable() from error

    def _keys(self, account: str, address: str) -> list[str]:
        """In the order of the bounds. One hash tag: a cluster runs a script on one node."""
        start = f"{{{self._system}:attempts}}"
        both = f"{account.strip().lower()}\0{address}"
        return [
            f"{start}:both:{_digest(both)}",
            f"{start}:account:{_digest(account.strip().lower())}",
            f"{start}:address:{_digest(address)}",
        ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _unreachable() -> RedisUnreachableError:
    return RedisUnreachableError(
        "attempts cannot be counted: Redis does not answer",
        hint="Nobody can sign in meanwhile; start Redis, or check REDIS_URL.",
    )
