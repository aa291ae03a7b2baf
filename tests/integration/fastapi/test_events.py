"""Server-sent events over a real server: what a browser sees of a job, and what stays behind."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from httpx import AsyncClient, Limits
from httpx import Response as Answer
from pydantic import BaseModel
from sqlalchemy import text

from bedplate.fastapi import DepLayer, EventStream, create_app, follow_job
from bedplate.jobs import ledger
from bedplate.jobs.ledger import JobState, PendingJob
from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from bedplate.testing.clones import ScratchDatabase
from tests.faults.tcp_proxy import TcpProxy
from tests.serving import served

TENANT = "acme"
# Nothing here may hang a run; what is awaited comes in milliseconds.
LONG = 30
CLAIM = text("""
UPDATE bedplate.jobs
   SET state = 'running', fence = 1, attempt = 1, worker = 'w:1',
       lease_until = now() + interval '15 s'
 WHERE id = :id
""")
CONNECTIONS = text("""
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = :name
""")


class Seen(BaseModel):
    """What these events show."""

    state: JobState
    progress: int


async def load(layer: DataLayer, job_id: UUID) -> Seen:
    """The job, as a route would load what belongs to its client."""
    async with layer.reading(tenant=TENANT) as session:
        job = await ledger.load(session, job_id)
    return Seen(state=job.state, progress=job.progress)


def app_of(layer: DataLayer, *, heartbeat: timedelta = timedelta(seconds=15)) -> Any:
    """An application that shows jobs as events; `?tenant=` follows as another one."""
    app = create_app(layer)

    @app.get("/jobs/{job_id}/events", response_class=EventStream)
    async def follow(
        request: Request, job_id: UUID, layer: DepLayer, tenant: str = TENANT
    ) -> Response:
        return follow_job(
            request,
            layer,
            job_id,
            tenant=tenant,
            now=await load(layer, job_id),
            show=lambda: load(layer, job_id),
            is_final=lambda seen: seen.state is JobState.SUCCEEDED,
            heartbeat=heartbeat,
        )

    return app


class Events:
    """One client's open stream."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> dict[str, str]:
        """The next event that has data, by its fields; empty when the stream has ended."""
        event: dict[str, str] = {}
        async with asyncio.timeout(LONG):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line:
                    event[name or "comment"] = value
                elif "data" in event:
                    return event
                else:
                    event = {}
        return {}

    async def comment(self) -> str:
        """The next comment."""
        async with asyncio.timeout(LONG):
            async for line in self._lines:
                if line.startswith(": "):
                    return line
        return ""


@asynccontextmanager
async def following(url: str, job_id: UUID, query: str = "") -> AsyncIterator[Events]:
    """A browser that opened the stream."""
    async with (
        AsyncClient(base_url=url, timeout=LONG) as client,
        client.stream("GET", f"/jobs/{job_id}/events{query}") as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        yield Events(answer.aiter_lines())


async def insert(layer: DataLayer) -> UUID:
    """A ready job of the tenant."""
    job = PendingJob(id=new_id(), task="t.t", queue="q", arguments={}, tenant=TENANT)
    async with layer.owner_database.engine.begin() as connection:
        await ledger.insert(connection, [job])
    return job.id


async def claim(layer: DataLayer, job_id: UUID) -> None:
    """As a worker does."""
    async with layer.owner_database.engine.begin() as connection:
        await connection.execute(CLAIM, {"id": job_id})


async def progress(layer: DataLayer, job_id: UUID, percent: int) -> None:
    """As a task does."""
    async with layer.owner_database.engine.begin() as connection:
        await ledger.progress(connection, job_id, 1, percent)


async def finish(layer: DataLayer, job_id: UUID) -> None:
    """As a task does."""
    async with layer.owner_database.engine.begin() as connection:
        await ledger.finish(connection, job_id, 1)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what becomes so without telling anybody."""
    deadline = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def at_rest(layer: DataLayer) -> None:
    """Wait until nobody follows anything and nothing looks."""
    await until(lambda: not (layer.following.jobs or layer.following.is_looking))


async def test_a_browser_sees_each_step_and_is_told_the_end(layer: DataLayer) -> None:
    """That is what the stream is for; by `end` a browser knows not to come back."""
    job_id = await insert(layer)
    async with served(app_of(layer)) as url, following(url, job_id) as events:
        ready = await events.next()
        await claim(layer, job_id)
        running = await events.next()
        await progress(layer, job_id, 40)
        forty = await events.next()
        await finish(layer, job_id)
        done, end, nothing = [await events.next() for _ in range(3)]

    shown = [json.loads(each["data"]) for each in (ready, running, forty, done)]
    assert [each["state"] for each in shown] == ["ready", "running", "running", "succeeded"]
    assert [each["progress"] for each in shown] == [0, 0, 40, 100]
    assert "event" not in done
    assert (end["event"], end["data"], end["id"]) == ("end", done["data"], done["id"])
    assert nothing == {}
    assert len({each["id"] for each in (ready, running, forty, done)}) == 4
    await at_rest(layer)


async def test_who_comes_back_gets_what_is_new_and_after_the_end_nothing(layer: DataLayer) -> None:
    """A browser reconnects by itself: it is not to draw the same twice, nor to come for ever."""
    job_id = await insert(layer)
    async with served(app_of(layer)) as url:
        async with following(url, job_id) as events:
            first = await events.next()
        async with AsyncClient(base_url=url, timeout=LONG) as client:
            path, seen = f"/jobs/{job_id}/events", {"Last-Event-ID": first["id"]}
            async with client.stream("GET", path, headers=seen) as answer:
                again = Events(answer.aiter_lines())
                await claim(layer, job_id)
                second = await again.next()
            await finish(layer, job_id)
            late = await client.get(path, headers={"Last-Event-ID": second["id"]})
            over = await client.get(path, headers={"Last-Event-ID": _last_id(late.text)})

    assert json.loads(second["data"])["state"] == "running"
    assert late.text.count("data: ") == 2
    assert "event: end" in late.text
    assert (over.status_code, over.text) == (204, "")


async def test_a_silent_stream_is_kept_open_by_comments(layer: DataLayer) -> None:
    """Proxies cut what says nothing, and the server learns by writing that a client is gone."""
    job_id = await insert(layer)
    app = app_of(layer, heartbeat=timedelta(milliseconds=20))
    async with served(app) as url, following(url, job_id) as events:
        await events.next()
        assert await events.comment() == ": still here"
        assert await events.comment() == ": still here"


async def test_many_clients_share_one_look_and_hold_no_connection(layer: DataLayer) -> None:
    """A hundred open tabs must not take a hundred connections from everyone else."""
    jobs = [await insert(layer) for _ in range(10)]
    pool: Any = layer.database.engine.pool
    limits = Limits(max_connections=None)
    async with (
        served(app_of(layer)) as url,
        AsyncClient(base_url=url, timeout=LONG, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        gets: list[asyncio.Task[Answer]] = []

        def all_follow() -> bool:
            return layer.following.followers == len(gets)

        # As many at a time as there are connections for their first look at the job.
        while len(gets) < 100:
            gets += [group.create_task(client.get(f"/jobs/{job}/events")) for job in jobs]
            await until(all_follow)
        # Each has read once more, when it was told how the job stands.
        await until(lambda: pool.checkedout() == 0)
        assert layer.following.jobs == 10
        assert await _connections(layer) <= 1
        for job_id in jobs:
            await claim(layer, job_id)
            await finish(layer, job_id)

    assert all(get.result().text.count("event: end") == 1 for get in gets)
    await at_rest(layer)


async def test_a_client_that_goes_away_leaves_nothing_running(layer: DataLayer) -> None:
    """Tabs are closed all day: what each left behind would add up."""
    job_id = await insert(layer)
    before = asyncio.all_tasks()
    async with served(app_of(layer)) as url:
        async with following(url, job_id) as events:
            await events.next()
            assert layer.following.jobs == 1
        await at_rest(layer)
        assert await _connections(layer) == 0
    assert asyncio.all_tasks() <= before


async def test_a_job_of_another_tenant_is_not_followed(layer: DataLayer) -> None:
    """What looks at the jobs is bound by no policy: the tenant must be part of its question."""
    job_id = await insert(layer)
    query = "?tenant=other"
    async with served(app_of(layer)) as url, following(url, job_id, query) as events:
        await events.next()
        await claim(layer, job_id)
        assert await events.next() == {}
    await at_rest(layer)


async def test_streams_end_when_the_process_is_told_to_stop(layer: DataLayer) -> None:
    """Else a deploy waits for the last open tab; a browser that was not told `end` comes back."""
    job_id = await insert(layer)
    async with served(app_of(layer)) as url, following(url, job_id) as events:
        await events.next()
        layer.following.end()
        assert await events.next() == {}


async def test_a_dead_job_ends_its_stream_without_an_end(layer: DataLayer) -> None:
    """What is shown is not final: it may have been queued again, and a browser that asks sees."""
    job_id = await insert(layer)
    async with served(app_of(layer)) as url, following(url, job_id) as events:
        await events.next()
        async with layer.owner_database.engine.begin() as connection:
            await ledger.cancel(connection, [job_id])
        cancelled, nothing = await events.next(), await events.next()

    assert json.loads(cancelled["data"])["state"] == "cancelled"
    assert nothing == {}


async def test_a_database_that_was_away_is_looked_at_again(
    layer: DataLayer, committed: ScratchDatabase
) -> None:
    """The streams that stood go on by themselves, and miss nothing that was committed meanwhile."""
    job_id = await insert(layer)
    with TcpProxy.before(committed.url.render()) as proxy:
        url = proxy.in_url(committed.url.render())
        far = committed.settings(DATABASE_URL=url, DATABASE_DIRECT_URL=url)
        async with (
            DataLayer(far, name="far") as far_layer,
            served(app_of(far_layer)) as url,
            following(url, job_id) as events,
        ):
            await events.next()
            proxy.is_refusing = True
            proxy.reset()
            await claim(layer, job_id)
            await progress(layer, job_id, 70)
            proxy.heal()
            later = await events.next()

    assert json.loads(later["data"]) == {"state": "running", "progress": 70}


def _last_id(stream: str) -> str:
    return stream.rpartition("\nid: ")[2].strip()


async def _connections(layer: DataLayer) -> int:
    """Those of the owner that are past its pool."""
    pool: Any = layer.owner_database.engine.pool
    async with layer.database.engine.connect() as connection:
        name = layer.owner_database.application_name
        found: int = (await connection.execute(CONNECTIONS, {"name": name})).scalar_one()
    pooled: int = pool.checkedin() + pool.checkedout()
    return found - pooled
