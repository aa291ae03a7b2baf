"""What is done to the processes and servers of the soak, chosen by the seed."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.faults.processes import Child
from tests.faults.soak.crew import Crew
from tests.faults.soak.servers import Servers
from tests.faults.tcp_proxy import TcpProxy

# Between two faults; several last longer, and overlap.
PAUSE_SECONDS = (0.3, 3.0)
# PostgreSQL's end is the hardest fault, and a supervisor that sees a server die again and again
# waits ever longer: rarely enough that most of the time there is work.
SERVER_PAUSE_SECONDS = 20.0

Deed = Callable[[], Awaitable[bool]]


class Trouble:
    """Makes one fault after the other, and counts them."""

    def __init__(self, servers: Servers, crew: Crew, chance: random.Random) -> None:
        self._servers = servers
        self._crew = crew
        self._random = chance
        self._lasting: set[asyncio.Task[None]] = set()
        self._next_server_fault = 0.0
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        deeds: list[tuple[Deed, int]] = [
            (self.kill, 5),
            (self.kill_a_pool_child, 3),
            (self.stop, 5),
            (self.reset, 6),
            (self.reset_at_a_byte, 6),
            (self.black_hole, 2),
            (self.slow, 3),
            (self.flush_redis, 2),
            (self.stop_redis, 1),
            (self.stop_s3, 1),
            (self.end_a_server, 4),
        ]
        while True:
            await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
            ((deed, _),) = self._random.choices(deeds, [weight for _, weight in deeds])
            if await deed() and deed != self.end_a_server:
                self.done[deed.__name__] += 1

    async def heal(self) -> None:
        """End what lasts, and let everybody go on."""
        for task in self._lasting:
            task.cancel()
        await asyncio.gather(*self._lasting, return_exceptions=True)
        for proxy in self._servers.proxies.values():
            proxy.heal()
        for child in self._crew.all():
            child.go_on()
        for server in ("valkey", "seaweedfs"):
            self._servers.signal(server, signal.SIGCONT)

    async def kill(self) -> bool:
        """kill -9 of any process with its children."""
        self._any().kill()
        return True

    async def kill_a_pool_child(self) -> bool:
        """kill -9 of one child of a worker."""
        children = self._random.choice(self._crew.workers()).children()
        if children:
            os.kill(self._random.choice(children), signal.SIGKILL)
        return bool(children)

    async def stop(self) -> bool:
        """SIGSTOP of any process, longer than a lease now and then."""
        child = self._any()
        child.stop()
        self._for(self._random.choice((0.2, 1.0, 5.0)), child.go_on)
        return True

    async def reset(self) -> bool:
        """RST to every connection to one server."""
        self._proxy().reset()
        return True

    async def reset_at_a_byte(self) -> bool:
        """RST in the middle of something."""
        self._proxy().reset_after(self._random.randrange(20_000))
        return True

    async def black_hole(self) -> bool:
        """One server neither answers nor refuses."""
        proxy = self._proxy()
        proxy.is_black_hole = True

        def end() -> None:
            proxy.is_black_hole = False

        self._for(self._random.uniform(0.5, 3.0), end)
        return True

    async def slow(self) -> bool:
        """Latency before one server."""
        proxy = self._proxy()
        proxy.latency = self._random.uniform(0.01, 0.1)

        def end() -> None:
            proxy.latency = 0.0

        self._for(3.0, end)
        return True

    async def flush_redis(self) -> bool:
        """FLUSHALL, as an operator does."""
        redis = Redis.from_url(self._servers.direct["REDIS_URL"], socket_timeout=1, retry=None)
        try:
            return bool(await redis.flushall())
        except (RedisError, OSError):
            return False
        finally:
            await redis.aclose()

    async def stop_redis(self) -> bool:
        """SIGSTOP of Redis."""
        return self._pause("valkey")

    async def stop_s3(self) -> bool:
        """SIGSTOP of SeaweedFS."""
        return self._pause("seaweedfs")

    async def end_a_server(self) -> bool:
        """PostgreSQL at once, one of its backends, Redis or S3."""
        now = asyncio.get_running_loop().time()
        if now < self._next_server_fault:
            return False
        self._next_server_fault = now + SERVER_PAUSE_SECONDS
        ends: dict[str, Callable[[], bool]] = {
            "stop PostgreSQL at once": lambda: self._servers.signal("postgres", signal.SIGQUIT),
            "kill PostgreSQL": lambda: self._servers.signal("postgres", signal.SIGKILL),
            "kill a backend": lambda: self._servers.kill_backend(self._random.randrange(1000)),
            "kill Redis": lambda: self._servers.signal("valkey", signal.SIGKILL),
            "kill S3": lambda: self._servers.signal("seaweedfs", signal.SIGKILL),
        }
        name = self._random.choice(sorted(ends))
        if ends[name]():
            self.done[name] += 1
        return True

    def _any(self) -> Child:
        return self._random.choice(self._crew.all())

    def _proxy(self) -> TcpProxy:
        return self._servers.proxies[self._random.choice(sorted(self._servers.proxies))]

    def _pause(self, server: str) -> bool:
        if not self._servers.signal(server, signal.SIGSTOP):
            return False
        self._for(
            self._random.uniform(0.5, 3.0), lambda: self._servers.signal(server, signal.SIGCONT)
        )
        return True

    def _for(self, seconds: float, end: Callable[[], object]) -> None:
        """Have something end after a while, or when all is healed."""

        async def wait() -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                end()

        task = asyncio.create_task(wait())
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)
