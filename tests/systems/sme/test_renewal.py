"""Another model: what the one before has embedded is embedded again, and never compared with it."""

from collections.abc import Sequence
from typing import Any

import pytest
from httpx import AsyncClient

from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from systems.sme import tasks
from systems.sme.embedding.embedder import Vectors
from systems.sme.routes import search
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.sme.conftest import add_text, ingest
from tests.systems.sme.embedders import LONG, Watched

MODELS = "SELECT embedding_model, count(*) AS passages FROM passages GROUP BY 1"
QUESTION = {"query": "a paragraph of the text", "mode": "meaning", "limit": 100}


class Another(Watched):
    """A model that has the same vectors in the opposite direction: compared, all is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "another"

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Minus the real ones."""
        return -await super().embed(texts)


def change(monkeypatch: pytest.MonkeyPatch, model: Another) -> None:
    """As `SME_EMBEDDER` would, in API and worker."""
    for module in (tasks, search):
        monkeypatch.setattr(module, "load_embedder", lambda _name: model)


async def renew(layer: DataLayer, run_job: RunJob) -> None:
    """What its schedule does each hour."""
    async with layer.transaction() as uow:
        job = uow.enqueue(tasks.renew)
    assert await run_job(str(job)) is Outcome.SUCCEEDED


async def models(catalogue: Catalogue) -> dict[str | None, int]:
    """How many passages each model has embedded."""
    return {row["embedding_model"]: row["passages"] for row in await catalogue(MODELS)}


async def scores(client: AsyncClient) -> list[float]:
    """Of all that is found by meaning."""
    items: list[dict[str, Any]] = (await client.post("/search", json=QUESTION)).json()["items"]
    return [each["score"] for each in items]


async def test_S8_another_model_embeds_everything_again(
    client: AsyncClient,
    run_job: RunJob,
    catalogue: Catalogue,
    layer: DataLayer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind what is new; what is deleted only once it is restored; then there is nothing to do."""
    kept, deleted = [
        await ingest(client, run_job, await add_text(client, text))
        for text in ("They differ.", "They are alike.")
    ]
    await client.delete(f"/evidence/{deleted['id']}")
    model = Another()
    change(monkeypatch, model)

    await renew(layer, run_job)

    shown = (await client.get(f"/evidence/{kept['id']}")).json()
    assert (shown["status"], shown["progress"]) == ("pending", 0)
    assert shown["job_id"] != kept["job_id"]
    jobs = await catalogue("SELECT id::text, priority FROM bedplate.jobs WHERE state = 'ready'")
    assert [tuple(row) for row in jobs] == [(shown["job_id"], tasks.RENEWAL)]
    assert await run_job(shown["job_id"]) is Outcome.SUCCEEDED
    assert (await client.get(f"/evidence/{kept['id']}")).json()["status"] == "ready"
    assert model.asked == [["They differ."]]

    restored = (await client.post(f"/evidence/{deleted['id']}/restore")).json()
    assert restored["status"] == "ready"
    await renew(layer, run_job)
    again = (await client.get(f"/evidence/{deleted['id']}")).json()
    assert await run_job(again["job_id"]) is Outcome.SUCCEEDED
    assert await models(catalogue) == {"another": 2}
    await renew(layer, run_job)
    assert await catalogue("SELECT FROM bedplate.jobs WHERE state = 'ready'") == []


async def test_S8_a_renewal_goes_on_where_it_ended(
    client: AsyncClient,
    run_job: RunJob,
    catalogue: Catalogue,
    layer: DataLayer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half done it is searched half: no question is compared with vectors of another model."""
    added = await ingest(client, run_job, await add_text(client, LONG))
    assert min(await scores(client)) > 0
    model = Another()
    change(monkeypatch, model)
    # Of no model that is asked now; their opposites would have scores below 0.
    assert await scores(client) == []

    async def fail(call: int) -> None:
        if call == 3:
            raise RuntimeError("in the second batch")

    await renew(layer, run_job)
    model.before = fail
    job_id = (await client.get(f"/evidence/{added['id']}")).json()["job_id"]
    assert await run_job(job_id) is Outcome.RETRIED

    count = added["passage_count"]
    before = next(name for name in await models(catalogue) if name != "another")
    assert await models(catalogue) == {"another": tasks.BATCH, before: count - tasks.BATCH}
    model.before = None
    found = await scores(client)
    assert len(found) == tasks.BATCH
    assert min(found) > 0
    await catalogue("UPDATE bedplate.jobs SET run_at = now() WHERE state = 'ready'")
    assert await run_job(job_id) is Outcome.SUCCEEDED
    assert await models(catalogue) == {"another": count}
    embedded = [text for texts in model.asked for text in texts if text != QUESTION["query"]]
    # The batch that failed was asked for twice, and nothing else.
    assert len(embedded) == count + min(tasks.BATCH, count - tasks.BATCH)
    assert len(await scores(client)) == min(count, 100)


async def test_S8_evidence_from_before_is_looked_through_once(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, layer: DataLayer, embedder: Watched
) -> None:
    """The revision names no model for what was there: its passages do, and are left as they are."""
    added = await ingest(client, run_job, await add_text(client, "They differ."))
    await catalogue("UPDATE evidence SET embedding_model = NULL")
    for _ in range(2):
        await renew(layer, run_job)
        shown = (await client.get(f"/evidence/{added['id']}")).json()
        if shown["status"] == "pending":
            assert await run_job(shown["job_id"]) is Outcome.SUCCEEDED
    assert embedder.asked == [["They differ."]]
    ((model, status),) = await catalogue("SELECT embedding_model, status FROM evidence")
    assert (model, status) == (embedder.name, "ready")
