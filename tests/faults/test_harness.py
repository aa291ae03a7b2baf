"""The tools do what tests of faults take them for: what is not injected proves nothing."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bedplate.cache.connections import RedisPool
from bedplate.jobs.ledger import JobState
from tests.faults import sample_system as sample
from tests.faults.look import Look
from tests.faults.processes import Processes
from tests.faults.tcp_proxy import TcpProxy


@pytest.fixture
def proxy(redis_url: str, proxy_before: Callable[[str], TcpProxy]) -> TcpProxy:
    """A proxy before Redis."""
    return proxy_before(redis_url)


async def test_a_proxy_passes_on_what_it_is_given(redis_url: str, proxy: TcpProxy) -> None:
    """Left alone it changes nothing, however much it is."""
    value = "x" * 1_000_000
    async with RedisPool(proxy.in_url(redis_url), 2) as pool:
        await pool.client().set("key", value)
        assert await pool.client().get("key") == value
        assert proxy.connections == 1
    assert proxy.passed_bytes > 2_000_000


async def test_a_reset_breaks_what_stands_and_not_what_comes(
    redis_url: str, proxy: TcpProxy
) -> None:
    """As a router that restarts."""
    client = Redis.from_url(proxy.in_url(redis_url), retry=None)
    await client.ping()
    proxy.reset()
    with pytest.raises((RedisConnectionError, ConnectionResetError)):
        await client.ping()
    await client.ping()
    await client.aclose()


async def test_a_reset_comes_at_its_byte(redis_url: str, proxy: TcpProxy) -> None:
    """In the middle of an answer, so that half of it is there."""
    client = Redis.from_url(proxy.in_url(redis_url), retry=None)
    await client.set("key", "x" * 10_000)
    before = proxy.passed_bytes
    proxy.reset_after(5_000)
    with pytest.raises((RedisConnectionError, ConnectionResetError)):
        await client.get("key")
    assert proxy.passed_bytes - before <= 5_000
    await client.aclose()


async def test_a_black_hole_takes_and_never_answers(redis_url: str, proxy: TcpProxy) -> None:
    """Half open: only a timeout of one's own ends the wait."""
    client = Redis.from_url(proxy.in_url(redis_url), retry=None, socket_timeout=0.2)
    await client.ping()
    proxy.is_black_hole = True
    with pytest.raises(RedisTimeoutError):
        await client.ping()
    proxy.heal()
    await client.ping()
    await client.aclose()


async def test_a_swallowed_answer_was_done_all_the_same(redis_url: str, proxy: TcpProxy) -> None:
    """The server acted, and the client does not know it."""
    client = Redis.from_url(proxy.in_url(redis_url), retry=None, socket_timeout=0.2)
    await client.set("counter", 41)
    proxy.swallow(b":42")
    with pytest.raises(RedisTimeoutError):
        await client.incr("counter")
    assert proxy.swallowed.is_set()
    assert await client.get("counter") == b"42"
    await client.aclose()


async def test_latency_and_bandwidth_slow_down(redis_url: str, proxy: TcpProxy) -> None:
    """At least by what was asked for; a busy machine may take longer."""
    client = Redis.from_url(proxy.in_url(redis_url), retry=None)
    await client.ping()
    proxy.latency = 0.05
    started = time.monotonic()
    await client.ping()
    assert time.monotonic() - started >= 0.1
    proxy.heal()
    proxy.bandwidth = 100_000
    started = time.monotonic()
    await client.set("key", "x" * 20_000)
    assert time.monotonic() - started >= 0.2
    await client.aclose()


def test_a_refusing_proxy_resets_who_comes(proxy: TcpProxy) -> None:
    """As a server that is down behind a balancer that is not."""
    proxy.is_refusing = True

    async def connect() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            return await reader.read()
        finally:
            writer.close()

    with pytest.raises(ConnectionResetError):
        asyncio.run(connect())


async def test_the_sample_system_goes_the_whole_way(processes: Processes, look: Look) -> None:
    """API, relay and worker as processes: an order's row, job and file, and the job's effect."""
    api, _, _ = (processes.start(each) for each in ("api", "relay", "worker"))
    port = (await api.until_says(r"serving on (\d+)"))[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.post("/orders", json={"note": "whole", "data": "bytes"})
        assert answer.status_code == 201, answer.text
        found = await client.get(f"/orders/{answer.json()['id']}")
    assert found.json()["note"] == "whole"
    await look.at_rest()
    assert await look.counts() == (1, 1, 1)
    assert await look.rows("SELECT note FROM fault_effects") == ["whole"]


async def test_a_stopped_process_does_nothing_until_it_goes_on(
    processes: Processes, look: Look, tmp_path: Path
) -> None:
    """SIGSTOP reaches the pool, too: its job stands still."""
    gate = tmp_path / "gate"
    worker, _ = processes.start("worker"), processes.start("relay")
    job_id = await look.enqueue(sample.block, str(gate))
    job = await look.until_state(job_id, JobState.RUNNING)
    worker.stop()
    _touch(gate)
    worker.go_on()
    await look.until_state(job_id, JobState.SUCCEEDED)
    assert job.fence == 1
    assert len(await look.effects(job_id)) == 1


def test_a_seed_is_repeatable(seed: random.Random, request: pytest.FixtureRequest) -> None:
    """The number that a failure prints gives the same faults again."""
    ((name, value),) = request.node.user_properties
    assert name == "seed"
    assert random.Random(value).random() == seed.random()  # noqa: S311 - it is no secret


def _touch(path: Path) -> None:
    path.touch()
