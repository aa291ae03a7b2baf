"""Messages that Redis or a worker had, and lost: plain Celery's tasks, and our jobs.

Called by `failure_cases.py`.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from bedplate.delivery.broker import Broker, queue_name
from bedplate.delivery.relay import Relay
from bedplate.layer import DataLayer
from bedplate.servers.binaries import find_valkey
from benchmarks import job_stand as stand

PEER = Path(__file__).with_name("failure_peers.py")
ROUNDS = 3
# As Celery's visibility timeout here: both offer again what was not acknowledged so soon.
DEADLINE = timedelta(seconds=5)
# A worker may take a quarter of a minute to start on a busy machine.
START_SECONDS = 60.0
# Three deadlines after the next worker works: what did not come then is lost.
PATIENCE_SECONDS = 15.0
MESSAGES = 500
QUEUE = queue_name(stand.NAME, "default")

Send = Callable[[str], Awaitable[None]]


async def killed_with_message(
    layer: DataLayer, variables: dict[str, str], python: Path
) -> tuple[str, str, str]:
    """A worker that was stopped is handed the message, and killed before it noted that."""
    redis = Redis.from_url(layer.settings.redis(), decode_responses=True)

    async def send_theirs(tag: str) -> None:
        sender.say(tag)

    async def send_ours(tag: str) -> None:
        async with layer.transaction() as uow:
            uow.enqueue(stand.note, tag)

    with _Sender(python, variables) as sender:
        theirs = await _lost(redis, [python, PEER, "worker"], variables, send_theirs)
    async with _relaying(layer, layer.settings.redis()):
        ours = await _lost(redis, stand.ours("worker"), variables, send_ours)
    case = "worker killed with a message in its hand (plain Celery, acks_late)"
    return case, f"{theirs} of {ROUNDS} tasks lost", f"{ours} of {ROUNDS} jobs lost"


async def _lost(redis: "Redis", command: list[Any], variables: dict[str, str], send: Send) -> int:
    """In how many rounds a task never ran, although the next worker works."""

    async def runs(tag: str, patience: float) -> bool:
        return await stand.comes(lambda: tag in redis.lrange(stand.NOTES, 0, -1), patience)

    lost = 0
    redis.delete(stand.NOTES)
    for number in range(ROUNDS):
        with stand.process(command, variables) as worker:
            await send(f"first {number}")
            assert await runs(f"first {number}", START_SECONDS)
            held = await _hold(redis, worker.pid, send, f"held {number}")
        with stand.process(command, variables):
            await send(f"next {number}")
            assert await runs(f"next {number}", START_SECONDS)
            lost += not await runs(held, PATIENCE_SECONDS)
    redis.delete(stand.NOTES)
    return lost


async def _hold(redis: "Redis", worker: int, send: Send, tag: str) -> str:
    """Stop the worker while it waits for a message, and have Redis hand it one. Which it is."""
    for attempt in count():
        assert await stand.comes(lambda: redis.info("clients")["blocked_clients"] > 0, 5)
        os.killpg(worker, signal.SIGSTOP)
        pushes = _pushes(redis)
        await send(held := f"{tag}.{attempt}")
        if await stand.comes(partial(_is_taken, redis, pushes), 2):
            return held
        # It had waited for a second, which is how long it does, and had not begun again.
        os.killpg(worker, signal.SIGCONT)
    raise AssertionError


def _is_taken(redis: "Redis", pushes: int) -> bool:
    """Whether more was pushed than then, and nothing is left."""
    return _pushes(redis) > pushes and not redis.exists("celery", QUEUE)


def _pushes(redis: "Redis") -> int:
    stats: Any = redis.info("commandstats")
    return int(stats.get("cmdstat_lpush", {"calls": 0})["calls"])


async def redis_killed(layer: DataLayer, folder: Path, python: Path) -> tuple[str, str, str]:
    """A Redis without persistence has taken all messages, is killed, and starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    redis = Redis.from_url(url, decode_responses=True)
    server = [find_valkey(None), "--port", port, "--bind", "127.0.0.1", "--dir", folder]
    server += ["--save", "", "--appendonly", "no"]
    async with _relaying(layer, url):
        with stand.process(server, {}):
            assert await stand.comes(lambda: _answers(redis), START_SECONDS)
            with _Sender(python, {"REDIS_URL": url}) as sender:
                async with layer.transaction() as uow:
                    for number in range(MESSAGES):
                        sender.say(str(number))
                        uow.enqueue(stand.note, str(number))
                assert await stand.comes(lambda: _waiting(redis) == (MESSAGES,) * 2, START_SECONDS)
        with stand.process(server, {}):
            assert await stand.comes(lambda: _answers(redis), START_SECONDS)
            await stand.comes(lambda: _waiting(redis)[1] == MESSAGES, START_SECONDS)
            theirs, ours = (MESSAGES - found for found in _waiting(redis))
    case = "Redis without persistence killed (plain Celery)"
    return case, f"{theirs} of {MESSAGES} tasks lost", f"{ours} of {MESSAGES} jobs lost"


def _answers(redis: "Redis") -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def _waiting(redis: "Redis") -> tuple[int, int]:
    """Their tasks and our jobs of which there is a message."""
    items: Any = redis.lrange(QUEUE, 0, -1)
    return redis.llen("celery"), len({json.loads(item)["headers"]["id"] for item in items})


class _Sender:
    """A process of plain Celery that sends a task for each tag that it is told."""

    def __init__(self, python: Path, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, PEER, "send"],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stand.kill(self._process)

    def say(self, tag: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{tag}\n".encode())
        self._process.stdin.flush()


@asynccontextmanager
async def _relaying(layer: DataLayer, url: str) -> AsyncIterator[None]:
    async with Broker(url) as broker:
        relay = asyncio.create_task(Relay(layer, broker, deadline=DEADLINE).run())
        yield
        assert not relay.done()
        relay.cancel()
        await asyncio.wait({relay})
