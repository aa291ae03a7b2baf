"""A client that lost its answer sends its request again, to a process that knows nothing of it."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from bedplate.testing.clones import ScratchDatabase
from tests.faults.look import Look
from tests.faults.processes import Processes
from tests.faults.tcp_proxy import TcpProxy

COMMITTED = b"COMMIT\0"
KEY = {"Idempotency-Key": "one-order"}


@pytest.mark.fault(2, holds="I1 I14")
async def test_fault_02_killed_after_its_commit_was_sent_a_repeat_gets_the_first_result(
    faults_database: ScratchDatabase,
    look: Look,
    processes: Processes,
    proxy_before: Callable[[str], TcpProxy],
) -> None:
    """The server committed, nobody was told, and the API is gone: another one answers the same."""
    url = faults_database.url.render()
    proxy = proxy_before(url)
    through_proxy = {
        "DATABASE_URL": proxy.in_url(url),
        "DATABASE_DIRECT_URL": proxy.in_url(url),
        "MIGRATION_DATABASE_URL": url,
        "BEDPLATE_TRANSACTION_POOLER": "false",
    }
    first = processes.start("api", **through_proxy)
    port = (await first.until_says(r"serving on (\d+)"))[1]
    proxy.swallow(COMMITTED)
    async with httpx.AsyncClient() as client:
        lost = asyncio.create_task(
            client.post(f"http://127.0.0.1:{port}/orders", json={"note": "once"}, headers=KEY)
        )
        await asyncio.to_thread(proxy.swallowed.wait, 30)
        first.kill()
        with pytest.raises(httpx.TransportError):
            await lost
        assert await look.counts() == (1, 1, 0)
        second = processes.start("api", **through_proxy)
        port = (await second.until_says(r"serving on (\d+)"))[1]
        again = await client.post(
            f"http://127.0.0.1:{port}/orders", json={"note": "once"}, headers=KEY
        )
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert await look.rows("SELECT id::text FROM fault_orders") == [again.json()["id"]]
    assert await look.counts() == (1, 1, 0)
