"""A trace goes from a request to its job, and from there to the job's jobs."""

import sys
from uuid import UUID

import httpx
import pytest

from bedplate.fastapi import DepUnitOfWork, create_app
from bedplate.jobs import ledger, trace
from bedplate.jobs.run import JobRun
from bedplate.jobs.tasks import task
from bedplate.layer import DataLayer
from bedplate.testing import drain

SENT = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "rojo=00f067aa0ba902b7",
}


@pytest.mark.committed
@pytest.mark.parametrize("has_opentelemetry", [True, False])
async def test_request_to_job_to_job(
    layer: DataLayer, monkeypatch: pytest.MonkeyPatch, *, has_opentelemetry: bool
) -> None:
    """Issue 5: carried with and without OpenTelemetry, so that no tracing is bound to either."""
    if not has_opentelemetry:
        monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    enqueued: list[UUID] = []
    seen: list[object] = []

    @task(name="trace.second")
    async def second(job: JobRun) -> None:
        seen.append(trace.current())

    @task(name="trace.first")
    async def first(job: JobRun) -> None:
        seen.append(trace.current())
        async with job.finishing() as uow:
            enqueued.append(uow.enqueue(second))

    app = create_app(layer, lifespan=None)

    @app.post("/")
    async def route(uow: DepUnitOfWork) -> None:
        enqueued.append(uow.enqueue(first))

    for headers in (SENT, {"traceparent": "hostile"}):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            assert (await client.post("/", headers=headers)).status_code == 200
        assert (await drain(layer, [first, second])).tasks == ["trace.first", "trace.second"]

    async with layer.owner_database.engine.connect() as connection:
        stored = [(await ledger.load(connection, job_id)).trace_context for job_id in enqueued]
    assert stored == seen == [SENT, SENT, None, None]
