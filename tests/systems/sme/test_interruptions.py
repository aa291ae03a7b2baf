"""The jobs of sme when something comes between: killed, overtaken, failing; evidence that goes."""

import asyncio
import signal

from httpx import AsyncClient

from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from systems.sme import tasks
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.deaths import bury, work_and_die
from tests.systems.sme.conftest import PASSAGES, add_text, count_all, ingest
from tests.systems.sme.embedders import LONG, Watched

KILLER = """
from systems.sme import tasks
from systems.sme.embedding.minilm import MiniLM

class Killer(MiniLM):
    calls = 0
    async def embed(self, texts):
        self.calls += 1
        if self.calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().embed(texts)

killer = Killer()
tasks.load_embedder = lambda name: killer
"""


async def test_S9_a_killed_worker_resumes_after_the_last_batch(
    client: AsyncClient,
    run_job: RunJob,
    catalogue: Catalogue,
    committed: ScratchDatabase,
    bedplate_s3: dict[str, str],
    embedder: Watched,
) -> None:
    """kill -9 inside the second batch: what the first has made is not asked for again."""
    added = (await add_text(client, LONG)).json()

    variables = {**committed.variables(), **bedplate_s3}
    status = await work_and_die("sme", KILLER, variables, added["job_id"], 2)

    assert status == -signal.SIGKILL
    embedded = await catalogue("SELECT text FROM passages WHERE embedding IS NOT NULL")
    assert len(embedded) == tasks.BATCH
    shown = (await client.get(f"/evidence/{added['id']}")).json()
    assert shown["status"] == "ingesting"
    assert 0 < shown["progress"] < 100
    # As when the lease has run out, without waiting for it.
    await catalogue("UPDATE bedplate.jobs SET lease_until = now() WHERE state = 'running'")
    assert await run_job(added["job_id"]) is Outcome.SUCCEEDED
    asked = [text for texts in embedder.asked for text in texts]
    assert not set(asked) & {row["text"] for row in embedded}
    rows = await catalogue(PASSAGES)
    assert len(asked) + len(embedded) == len(rows) == shown["passage_count"]
    assert all(row["embedding"] is not None for row in rows)
    assert (await client.get(f"/evidence/{added['id']}")).json()["status"] == "ready"


async def test_S9_a_worker_that_lost_its_lease_commits_nothing(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, embedder: Watched
) -> None:
    """Two workers with one job must not both write: the fence lets one."""
    added = (await add_text(client, LONG)).json()

    overtaking: list[asyncio.Future[Outcome]] = []

    async def be_overtaken(call: int) -> None:
        if call == 2:
            await catalogue("UPDATE bedplate.jobs SET lease_until = now()")
            # In a task of its own: this one is cancelled as soon as the loss is noticed.
            overtaking.append(asyncio.ensure_future(run_job(added["job_id"])))
            await asyncio.wait(overtaking)

    embedder.before = be_overtaken
    assert await run_job(added["job_id"]) in {Outcome.LOST, Outcome.DROPPED}
    assert await overtaking[0] is Outcome.SUCCEEDED

    rows = await catalogue(PASSAGES)
    assert all(row["embedding"] is not None for row in rows)
    shown = (await client.get(f"/evidence/{added['id']}")).json()
    assert (shown["status"], shown["passage_count"]) == ("ready", len(rows))


async def test_S5_deleted_evidence_is_not_embedded_and_goes_on_when_restored(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, embedder: Watched
) -> None:
    """In mid-job: the batch in flight is not stored; restored, another job does the rest."""
    added = (await add_text(client, LONG)).json()

    async def delete(call: int) -> None:
        if call == 2:
            assert (await client.delete(f"/evidence/{added['id']}")).status_code == 204

    embedder.before = delete
    outcome = await run_job(added["job_id"])
    assert outcome in {Outcome.CANCELLED, Outcome.DROPPED, Outcome.LOST}
    embedded = "SELECT count(*) FROM passages WHERE embedding IS NOT NULL"
    assert (await catalogue(embedded))[0][0] == tasks.BATCH
    assert (await catalogue("SELECT state FROM bedplate.jobs"))[0][0] == "cancelled"

    restored = (await client.post(f"/evidence/{added['id']}/restore")).json()

    assert restored["status"] == "pending"
    assert restored["job_id"] != added["job_id"]
    assert await run_job(restored["job_id"]) is Outcome.SUCCEEDED
    rows = await catalogue(PASSAGES)
    assert all(row["embedding"] is not None for row in rows)
    assert len(embedder.asked[0]) + sum(map(len, embedder.asked[2:])) == len(rows)


async def test_S5_a_job_of_deleted_evidence_has_nothing_to_do(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, embedder: Watched
) -> None:
    """Also where its cancellation came too late."""
    added = (await add_text(client, "They differ.")).json()
    await client.delete(f"/evidence/{added['id']}")
    await catalogue("UPDATE bedplate.jobs SET state = 'ready', finished_at = NULL")

    assert await run_job(added["job_id"]) is Outcome.SUCCEEDED

    assert embedder.asked == []
    assert (await count_all(catalogue))["passages"] == 0


async def test_S9_a_failing_job_says_so_and_is_tried_again(
    client: AsyncClient, run_job: RunJob, embedder: Watched, catalogue: Catalogue
) -> None:
    """The reason is shown; the last attempt's stays."""
    added = (await add_text(client, "They differ.")).json()

    async def fail(call: int) -> None:
        raise RuntimeError(f"attempt {call}")

    embedder.before = fail
    assert await run_job(added["job_id"]) is Outcome.RETRIED
    shown = (await client.get(f"/evidence/{added['id']}")).json()
    assert (shown["status"], shown["error"]) == ("pending", None)
    await catalogue("UPDATE bedplate.jobs SET attempt = max_attempts - 1, run_at = now()")
    assert await run_job(added["job_id"]) is Outcome.DEAD
    shown = (await client.get(f"/evidence/{added['id']}")).json()
    assert shown["status"] == "failed"
    assert "attempt 2" in shown["error"]


async def test_evidence_whose_workers_died_is_shown_as_failed(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer
) -> None:
    """A job that kills its workers is buried by the relay: nobody is left to write the row."""
    added = (await add_text(client, "They differ.")).json()
    await bury(catalogue, layer)

    shown = (await client.get(f"/evidence/{added['id']}")).json()

    assert shown["status"] == "failed"
    assert "went silent" in shown["error"]


async def test_S5_the_purge_removes_rows_passages_and_files_after_the_retention(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, layer: DataLayer
) -> None:
    """What was deleted lately, and what is present, stays."""
    texts = ("They differ.", "They are alike.", "They are gone.")
    added = [await ingest(client, run_job, await add_text(client, text)) for text in texts]
    for each in added[1:]:
        await client.delete(f"/evidence/{each['id']}")
    gone = added[2]["id"]
    await catalogue(
        "UPDATE evidence SET deleted_at = now() - interval '31 days' WHERE id = $1::uuid", gone
    )
    ((gone_file,),) = await catalogue("SELECT file_id FROM evidence WHERE id = $1::uuid", gone)

    async with layer.transaction() as uow:
        job = uow.enqueue(tasks.purge)
    assert await run_job(str(job)) is Outcome.SUCCEEDED

    left = {str(row["id"]) for row in await catalogue("SELECT id FROM evidence")}
    assert left == {each["id"] for each in added[:2]}
    assert (await count_all(catalogue))["passages"] == 2
    deleted = await catalogue("SELECT id FROM bedplate.stored_files WHERE state = 'deleted'")
    assert [row["id"] for row in deleted] == [gone_file]
    assert (await client.post(f"/evidence/{gone}/restore")).status_code == 404
    assert (await client.post(f"/evidence/{added[1]['id']}/restore")).status_code == 200
