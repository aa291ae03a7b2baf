"""What a network does to connections: broken at any byte, half open, slow. Nothing is half done."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from redis.exceptions import RedisError
from sqlalchemy import text

from bedplate.delivery.broker import Broker
from bedplate.delivery.relay import Relay
from bedplate.errors import BedplateError, DatabaseUnreachableError
from bedplate.jobs.ledger import JobState
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.rows.driver import DriverConnection
from bedplate.rows.ids import new_id
from bedplate.testing.clones import ScratchDatabase
from bedplate.urls import DatabaseUrl
from tests.faults import sample_system as sample
from tests.faults.look import Look
from tests.faults.processes import Processes
from tests.faults.rest import until
from tests.faults.sample_system import DEADLINE, NAME, place_order
from tests.faults.tcp_proxy import TcpProxy

ROUNDS = 12
# A command of Redis, a statement, a whole order.
FURTHEST_BYTES = (40, 500, 6000)
SERVERS = {"PostgreSQL": "DATABASE_URL", "Redis": "REDIS_URL", "S3": "S3_ENDPOINT_URL"}
# The committed orders with what belongs to each, told apart by their note.
WHOLE = """
SELECT fault_orders.id, jobs.id IS NOT NULL, file.state
  FROM fault_orders
  LEFT JOIN bedplate.jobs ON jobs.id = fault_orders.job_id
  LEFT JOIN bedplate.stored_files AS file ON file.id = fault_orders.file_id
"""
OPEN = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND state LIKE 'idle in transaction%'
"""

ONE = text("SELECT 1")

ProxyBefore = Callable[[str], TcpProxy]


@pytest.fixture(params=SERVERS)
def proxy(
    request: pytest.FixtureRequest, variables: dict[str, str], proxy_before: ProxyBefore
) -> TcpProxy:
    """A proxy before one of the servers; the sample system's variables lead through it."""
    return _put_before(SERVERS[request.param], variables, proxy_before)


def _put_before(name: str, variables: dict[str, str], proxy_before: ProxyBefore) -> TcpProxy:
    proxy = proxy_before(variables[name])
    variables[name] = proxy.in_url(variables[name])
    return proxy


@pytest.fixture
async def past(faults_database: ScratchDatabase) -> AsyncIterator[Look]:
    """What is committed, past every proxy."""
    async with DataLayer(faults_database.settings(), name=NAME) as layer:
        yield Look(layer)


@pytest.fixture
async def through(
    faults_database: ScratchDatabase, variables: dict[str, str], proxy: TcpProxy
) -> AsyncIterator[DataLayer]:
    """A layer behind the proxy."""
    settings = faults_database.settings(**variables | {"BEDPLATE_S3_TIMEOUT": "2"})
    async with DataLayer(settings, name=NAME) as layer:
        yield layer


@contextlib.asynccontextmanager
async def _relaying(layer: DataLayer) -> AsyncIterator[None]:
    async with Broker(layer.settings.redis()) as broker:
        running = asyncio.create_task(Relay(layer, broker, deadline=DEADLINE).run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.fault(21, holds="I1 I2 I7 I11", every_run=True)
async def test_fault_21_a_reset_at_any_byte_leaves_all_or_nothing(
    through: DataLayer, proxy: TcpProxy, past: Look, seed: random.Random
) -> None:
    """Whatever was acknowledged is there, with its job and its file; nothing is there in part."""
    acknowledged: set[UUID] = set()
    for _ in range(ROUNDS):
        proxy.reset_after(seed.randrange(seed.choice(FURTHEST_BYTES)))
        order = new_id()
        try:
            async with through.transaction() as uow:
                await place_order(uow, "reset", data=seed.randbytes(300), order_id=order)
            await through.redis.client().get("anything")
        except (BedplateError, RedisError, OSError):
            continue
        acknowledged.add(order)
    proxy.heal()
    # An idempotent command of Redis is sent again, and nobody notices.
    assert proxy.resets
    found = {row[0]: row[1:] for row in await past.rows(WHOLE)}
    assert acknowledged <= found.keys()
    assert set(found.values()) <= {(True, "committed")}
    assert await past.rows("SELECT count(*) FROM bedplate.jobs") == [len(found)]

    async def nothing_is_open() -> bool:
        return await past.rows(OPEN) == [0]

    await until(nothing_is_open, "no transaction is left open")
    async with through.transaction() as uow:
        await place_order(uow, "after", data=b"healed")


@pytest.mark.fault(21, holds="I3 I4 I15")
async def test_fault_21_jobs_run_once_through_resets(
    variables: dict[str, str],
    proxy_before: ProxyBefore,
    processes: Processes,
    past: Look,
    seed: random.Random,
) -> None:
    """Relay and worker lose their connections again and again, at any byte."""
    proxies = [_put_before(name, variables, proxy_before) for name in SERVERS.values()]
    chaotic = Processes(processes._folder, variables)
    try:
        for what in ("relay", "worker"):
            chaotic.start(what)
        ids = []
        for number in range(40):
            ids.append(await past.enqueue(sample.linger, str(number)))
            seed.choice(proxies).reset_after(seed.randrange(20_000))
            await asyncio.sleep(0.05)
        for proxy in proxies:
            proxy.heal()
        await past.at_rest()
    finally:
        chaotic.close()
    for job_id in ids:
        assert (await past.job(job_id)).state is JobState.SUCCEEDED
        assert len(await past.effects(job_id)) == 1


@pytest.mark.fault(22, holds="I11 I12")
async def test_fault_22_a_redis_that_has_vanished_is_noticed_by_the_next_command(
    variables: dict[str, str], proxy_before: ProxyBefore, faults_database: ScratchDatabase
) -> None:
    """Half open: the command ends by its timeout, and the next one has a new connection."""
    proxy = _put_before("REDIS_URL", variables, proxy_before)
    async with DataLayer(faults_database.settings(**variables), name=NAME) as layer:
        redis = layer.redis.client()
        await redis.set("key", "kept")
        proxy.vanish()
        with contextlib.suppress(RedisError):
            await redis.get("key")
        assert await redis.get("key") == "kept"


@pytest.mark.fault(22, holds="I3 I12 I15")
@pytest.mark.parametrize("vanished", ["DATABASE_URL", "REDIS_URL"])
async def test_fault_22_relay_and_worker_go_on_when_their_peer_has_vanished(
    variables: dict[str, str],
    proxy_before: ProxyBefore,
    processes: Processes,
    past: Look,
    vanished: str,
) -> None:
    """Plain Celery consumes no more from a half-open Redis (celery#10205); here jobs go on."""
    proxy = _put_before(vanished, variables, proxy_before)
    half_open = Processes(processes._folder, variables)
    try:
        for what in ("relay", "worker"):
            half_open.start(what)
        before = await past.enqueue(sample.apply, "before")
        await past.until_state(before, JobState.SUCCEEDED)
        proxy.vanish()
        after = await past.enqueue(sample.apply, "after")
        await past.until_state(after, JobState.SUCCEEDED)
    finally:
        half_open.close()
    assert await past.effects(after) == ["after"]


@pytest.mark.fault(23, holds="I3 I12")
async def test_fault_23_on_a_slow_network_that_stalls_work_gets_done(
    variables: dict[str, str],
    proxy_before: ProxyBefore,
    processes: Processes,
    faults_database: ScratchDatabase,
    past: Look,
    seed: random.Random,
) -> None:
    """200 ms and 64 kB/s to every server, and stalls: slower, not given up, not done twice."""
    proxies = [_put_before(name, variables, proxy_before) for name in SERVERS.values()]
    slow = Processes(processes._folder, variables)
    data = seed.randbytes(50_000)
    try:
        for what in ("relay", "worker"):
            slow.start(what)
        await past.until_state(await past.enqueue(sample.apply, "warm"), JobState.SUCCEEDED)
        for proxy in proxies:
            proxy.latency, proxy.bandwidth = 0.1, 64_000
        settings = faults_database.settings(**variables)
        async with DataLayer(settings, name=NAME) as layer:
            for _ in range(3):
                async with layer.transaction() as uow:
                    await place_order(uow, "slow", data=data)
                stalled = seed.choice(proxies)
                stalled.is_black_hole = True
                await asyncio.sleep(0.5)
                stalled.is_black_hole = False
        await past.at_rest()
    finally:
        slow.close()
    assert [row[1:] for row in await past.rows(WHOLE)] == [(True, "committed")] * 3
    assert await past.rows("SELECT count(*) FROM fault_effects") == [4]
    digests = await past.rows("SELECT encode(sha256, 'hex') FROM bedplate.stored_files")
    assert set(digests) == {hashlib.sha256(data).hexdigest()}


@pytest.mark.fault(22, holds="I12", every_run=True)
async def test_fault_22_a_statement_to_a_server_that_vanished_ends_in_time(
    faults_database: ScratchDatabase, proxy_before: ProxyBefore
) -> None:
    """A relay's, a claim's: nothing tells them that no answer will come. The next one connects."""
    url = faults_database.url.render()
    proxy = proxy_before(url)
    database = Database(DatabaseUrl.parse(proxy.in_url(url)))
    connection = DriverConnection(database, timeout=timedelta(milliseconds=500))
    try:
        assert (await connection.fetch(ONE))[0][0] == 1
        proxy.vanish()
        with pytest.raises(DatabaseUnreachableError):
            await connection.fetch(ONE)
        assert (await connection.fetch(ONE))[0][0] == 1
        proxy.vanish()
        with pytest.raises(DatabaseUnreachableError):
            async with connection.transaction() as transaction:
                await transaction.fetch(ONE)
        assert (await connection.fetch(ONE))[0][0] == 1
    finally:
        await connection.close()
