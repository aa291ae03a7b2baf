"""The answer to COMMIT is lost: committed is success, rolled back says so, and unknown is said."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bedplate.errors import BedplateError, CommitUnknownError, DatabaseUnreachableError
from bedplate.fastapi import DepUnitOfWork, create_app
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.rows.transaction_id import ASSIGN, Mark, Status, read_status
from bedplate.testing.clones import ScratchDatabase
from bedplate.unit_of_work import UnitOfWork
from tests.faults.look import Look
from tests.faults.own_postgres import OwnPostgres, Replica
from tests.faults.rest import until
from tests.faults.sample_system import INSERT_ORDER, NAME, apply
from tests.faults.tcp_proxy import TcpProxy

NOTES = "SELECT note FROM fault_orders ORDER BY note"
# The answer's tag, which stands in no other answer.
COMMITTED = b"COMMIT\0"
LOST_ORDER = "INSERT INTO fault_orders (id, note) VALUES (gen_random_uuid(), 'lost')"
PROMPT = timedelta(milliseconds=500)


@pytest.fixture
def proxy(faults_database: ScratchDatabase, proxy_before: Callable[[str], TcpProxy]) -> TcpProxy:
    """What stands between the layer and PostgreSQL."""
    return proxy_before(faults_database.url.render())


@pytest.fixture
async def far_layer(faults_database: ScratchDatabase, proxy: TcpProxy) -> AsyncIterator[DataLayer]:
    """An open layer behind the proxy."""
    url = proxy.in_url(faults_database.url.render())
    more = {"DATABASE_URL": url, "DATABASE_DIRECT_URL": url, "BEDPLATE_TRANSACTION_POOLER": "0"}
    async with DataLayer(faults_database.settings(**more), name=NAME) as layer:
        yield layer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent COMMIT is given up after half a second instead of thirty."""
    monkeypatch.setattr("bedplate.commit.COMMIT_TIMEOUT", PROMPT)


async def order(uow: UnitOfWork, note: str) -> None:
    """A row, a job and an invalidation."""
    job_id = uow.enqueue(apply, note)
    uow.invalidate(f"order:{note}")
    await order_row(uow, note, job_id)


async def order_row(uow: UnitOfWork, note: str, job_id: object = None) -> None:
    """A row, and nothing besides."""
    values = {"id": new_id(), "note": note, "job_id": job_id, "file_id": None}
    await uow.execute(INSERT_ORDER, values)


@pytest.mark.fault(22, 2, holds="I1 I14")
@pytest.mark.parametrize("write", [order, order_row])
async def test_fault_02_a_commit_whose_answer_never_comes_is_a_success(
    far_layer: DataLayer,
    proxy: TcpProxy,
    look: Look,
    impatient: None,
    write: Callable[..., object],
) -> None:
    """The peer vanished behind the COMMIT: the server, asked by number, says that it stands."""
    async with far_layer.transaction() as uow:
        await write(uow, "kept")  # type: ignore[misc] # both are coroutines
        proxy.swallow(COMMITTED)
    assert proxy.swallowed.is_set()
    assert await look.rows(NOTES) == ["kept"]


@pytest.mark.fault(21, 2, holds="I1 I14", every_run=True)
async def test_fault_21_a_reset_after_the_commit_was_sent_is_a_success(
    far_layer: DataLayer, proxy: TcpProxy, look: Look
) -> None:
    """The connection breaks with the answer on its way."""

    async def cut() -> None:
        await asyncio.to_thread(proxy.swallowed.wait, 30)
        await asyncio.to_thread(proxy.reset)

    cutting = asyncio.create_task(cut())
    async with far_layer.transaction() as uow:
        await order(uow, "kept")
        proxy.swallow(COMMITTED)
    await cutting
    assert await look.counts() == (1, 1, 0)


@pytest.mark.fault(21, holds="I1 I14", every_run=True)
async def test_fault_21_a_reset_before_the_commit_is_a_rollback_that_says_so(
    far_layer: DataLayer, proxy: TcpProxy, look: Look
) -> None:
    """Nothing is committed, and the caller is told that it may do it again."""

    async def cut(_session: AsyncSession) -> None:
        await asyncio.to_thread(proxy.reset)

    with pytest.raises(DatabaseUnreachableError):
        async with far_layer.transaction() as uow:
            await order(uow, "gone")
            uow.before_commit(cut)
    assert await look.counts() == (0, 0, 0)


@pytest.mark.fault(22, holds="I14")
async def test_fault_22_what_nobody_can_say_is_said(
    far_layer: DataLayer,
    proxy: TcpProxy,
    look: Look,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither success nor failure may be claimed: `commit_unknown`, without Retry-After."""
    monkeypatch.setattr("bedplate.commit.RESOLVE_WITHIN", PROMPT)
    app = create_app(far_layer)

    @app.post("/orders", status_code=201)
    async def place(uow: DepUnitOfWork) -> None:
        await order(uow, "perhaps")
        proxy.swallow(COMMITTED)

    async def cut() -> None:
        await asyncio.to_thread(proxy.swallowed.wait, 30)
        proxy.is_refusing = True

    cutting = asyncio.create_task(cut())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/orders")
    await cutting
    assert (response.status_code, response.json()["code"]) == (500, "commit_unknown")
    assert "retry-after" not in response.headers
    # It was committed after all: that is why nothing else may be said.
    assert await look.rows(NOTES) == ["perhaps"]


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[OwnPostgres]:
    """A server of the test's own."""
    server = OwnPostgres(tmp_path / "primary")
    server.up()
    yield server
    assert server.stop()


class Load:
    """Writers that commit rows one after another, and note what they were told of each."""

    def __init__(self, layer: DataLayer, writers: int = 8) -> None:
        self.layer = layer
        self.acknowledged: set[str] = set()
        self.rolled_back: set[str] = set()
        self.unknown: set[str] = set()
        self._writers = writers
        self._is_over = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write during the block, and end afterwards."""
        tasks = [asyncio.create_task(self._write(number)) for number in range(self._writers)]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*tasks)

    async def until_acknowledged(self, more: int) -> None:
        """Wait until so many commits more were answered."""
        wanted = len(self.acknowledged) + more

        async def look() -> bool:
            return len(self.acknowledged) >= wanted

        await until(look, f"{wanted} commits are answered")

    async def _write(self, number: int) -> None:
        count = 0
        while not self._is_over:
            count += 1
            note = f"{number}.{count}"
            try:
                async with self.layer.transaction() as uow:
                    await order(uow, note)
            except CommitUnknownError:
                self.unknown.add(note)
            except BedplateError:
                self.rolled_back.add(note)
                await asyncio.sleep(0.02)
            else:
                self.acknowledged.add(note)

    async def check(self, owner_url: str) -> None:
        """What was acknowledged is there, what was refused is not, and no transaction is half."""
        connection = await asyncpg.connect(owner_url)
        try:
            notes = {row[0] for row in await connection.fetch("SELECT note FROM fault_orders")}
            jobs = {
                row[0]
                for row in await connection.fetch("SELECT arguments->>'what' FROM bedplate.jobs")
            }
        finally:
            await connection.close()
        assert self.acknowledged - notes == set()
        assert self.rolled_back & notes == set()
        assert notes == jobs


@pytest.mark.fault(24, holds="I1 I2 I14")
@pytest.mark.parametrize("end", [OwnPostgres.stop_at_once, OwnPostgres.kill])
async def test_fault_24_a_server_that_ends_in_mid_commit_loses_nothing(
    own_postgres: OwnPostgres, end: Callable[[OwnPostgres], None]
) -> None:
    """Immediate stop and kill -9 under load: each commit is known to stand, or not to."""
    settings = await own_postgres.make_sample()
    async with DataLayer(settings, name=NAME) as layer:
        load = Load(layer)
        async with load.running():
            for _ in range(3):
                await load.until_acknowledged(50)
                await asyncio.to_thread(end, own_postgres)
                await asyncio.to_thread(own_postgres.up)
            await load.until_acknowledged(50)
    assert load.rolled_back
    await load.check(own_postgres.owner_url())


@pytest.mark.fault(24, holds="I2 I14")
async def test_fault_24_a_number_that_was_given_anew_is_not_believed(
    own_postgres: OwnPostgres,
) -> None:
    """Lost in a crash, its number another's; and a second crash hides where the first ended."""
    await own_postgres.make_sample()
    mark = await _lose_a_transaction(own_postgres)
    # The server may just have written its log by itself; then it knows the number.
    while await _status(own_postgres, mark) is Status.ABORTED:
        mark = await _lose_a_transaction(own_postgres)
    await own_postgres.run(*["SELECT pg_current_xact_id()"] * 20, "CHECKPOINT")
    (by_number,) = await _fetch(own_postgres, f"SELECT pg_xact_status('{mark.xid}'::xid8)")
    assert by_number == "committed"
    assert await _status(own_postgres, mark) is Status.UNKNOWN
    await asyncio.to_thread(own_postgres.stop_at_once)
    await asyncio.to_thread(own_postgres.up)
    assert await _status(own_postgres, mark) is Status.UNKNOWN
    assert await _fetch(own_postgres, NOTES) == []


@pytest.mark.fault(25, holds="I1 I2 I14")
async def test_fault_25_a_killed_backend_restarts_the_server_and_loses_nothing(
    own_postgres: OwnPostgres,
) -> None:
    """kill -9 of one backend ends all of them, and the pool comes back by itself."""
    settings = await own_postgres.make_sample()
    async with DataLayer(settings, name=NAME) as layer:
        load = Load(layer)
        async with load.running():
            for _ in range(3):
                await load.until_acknowledged(50)
                await _kill_a_backend(layer)
            await load.until_acknowledged(50)
    await load.check(own_postgres.owner_url())


@pytest.mark.fault(26, holds="I1 I2 I14")
@pytest.mark.parametrize("is_synchronous", [True, False])
async def test_fault_26_a_failover_keeps_what_was_acknowledged(
    own_postgres: OwnPostgres,
    tmp_path: Path,
    proxy_before: Callable[[str], TcpProxy],
    is_synchronous: bool,
) -> None:
    """Synchronous: nothing acknowledged is lost. Otherwise the last may be, but none is half."""
    await own_postgres.make_sample()
    replica = Replica(tmp_path / "replica", own_postgres)
    await asyncio.to_thread(replica.up)
    if is_synchronous:
        await own_postgres.run(
            "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
        )
    proxy = proxy_before(own_postgres.owner_url())
    settings = own_postgres.settings(proxy.in_url(own_postgres.owner_url()))
    try:
        async with DataLayer(settings, name=NAME) as layer:
            load = Load(layer)
            async with load.running():
                await load.until_acknowledged(100)
                await asyncio.to_thread(own_postgres.kill)
                await replica.promote()
                proxy.upstream_port = replica.port.number
                before = len(load.acknowledged)
                await load.until_acknowledged(50)
        if not is_synchronous:
            # What the replica had not got is lost, and it is the last of it.
            assert before >= 100
            load.acknowledged.clear()
        await load.check(replica.owner_url())
    finally:
        assert replica.stop()


async def _lose_a_transaction(server: OwnPostgres) -> Mark:
    """End the server before the transaction has reached its disk, and start it again."""
    connection = await asyncpg.connect(server.owner_url())
    await connection.execute("BEGIN")
    mark = Mark.read(await connection.fetchval(f"SELECT {ASSIGN}"))
    assert mark is not None
    await connection.execute(LOST_ORDER)
    await asyncio.to_thread(server.stop_at_once)
    connection.terminate()
    await asyncio.to_thread(server.up)
    return mark


async def _status(server: OwnPostgres, mark: Mark) -> Status:
    connection = await asyncpg.connect(server.owner_url())
    try:
        return await read_status(connection, mark)
    finally:
        await connection.close()


async def _fetch(server: OwnPostgres, query: str) -> list[object]:
    connection = await asyncpg.connect(server.owner_url())
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def _kill_a_backend(layer: DataLayer) -> None:
    async with layer.reading() as session:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
