"""The jobs of sme: evidence cut and embedded, resumed after a kill, stopped, purged."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from httpx import AsyncClient
from reportlab.pdfgen.canvas import Canvas

from bedplate.jobs import ledger
from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from systems.sme import tasks
from systems.sme.embedding import load_embedder
from systems.sme.embedding.embedder import Vectors
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.documents.samples import TEXT as PROSE
from tests.systems.documents.samples import drawn, paragraph, two_columns
from tests.systems.sme.conftest import add_file, add_text, count_all, ingest
from tests.texts import ROOT

PASSAGES = 'SELECT position, page, start, "end", text, embedding_model, embedding_dimensions,'
PASSAGES += " embedding::real[] AS embedding FROM passages WHERE deleted_at IS NULL ORDER BY 1"
# Some 50 passages: two batches.
LONG = "\n\n".join(f"Paragraph {number} of the text. " + PROSE.strip() for number in range(100))

Before = Callable[[int], Awaitable[None]]


class Watched:
    """The real embedder, which says which texts it is asked for, and lets a test step in."""

    def __init__(self) -> None:
        self.real = load_embedder()
        self.asked: list[list[str]] = []
        self.before: Before | None = None
        self.name = self.real.name
        self.dimensions = self.real.dimensions
        self.window_characters = self.real.window_characters

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As the real one."""
        self.asked.append(list(texts))
        if self.before is not None:
            await self.before(len(self.asked))
        return await self.real.embed(texts)


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What the jobs of this process embed with."""
    watched = Watched()
    monkeypatch.setattr(tasks, "load_embedder", lambda _name: watched)
    return watched


async def test_S9_a_text_is_cut_and_embedded_by_a_job(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue
) -> None:
    """Each passage with its place in the text, its vector, and the name of the model."""
    text = "Finches differ.\n\n" + PROSE + "\n \n" + "word " * 500

    shown = await ingest(client, run_job, await add_text(client, text))

    assert (shown["status"], shown["progress"], shown["error"]) == ("ready", 100, None)
    rows = await catalogue(PASSAGES)
    assert shown["passage_count"] == len(rows) > 3
    real = load_embedder()
    expected = await real.embed([row["text"] for row in rows])
    for position, (row, vector) in enumerate(zip(rows, expected, strict=True)):
        assert row["position"] == position
        assert row["page"] is None
        assert text[row["start"] : row["end"]] == row["text"]
        assert len(row["text"]) <= real.window_characters
        assert (row["embedding_model"], row["embedding_dimensions"]) == (real.name, 384)
        assert np.allclose(row["embedding"], vector, atol=1e-5)
    left = text
    for row in rows:
        left = left.replace(row["text"], "", 1)
    assert left.strip() == ""


async def test_S9_a_pdf_is_cut_page_by_page(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, tmp_path: Path
) -> None:
    """By the reader in its child process: columns kept apart, each passage with its page."""

    def two_pages(canvas: Canvas) -> None:
        two_columns(canvas)
        canvas.showPage()
        paragraph(canvas, PROSE.split(), 72, 700, 400)

    pdf = drawn(tmp_path / "a.pdf", two_pages).read_bytes()

    shown = await ingest(client, run_job, await add_file(client, pdf, name="a.pdf"))

    assert (shown["content_type"], shown["status"]) == ("application/pdf", "ready")
    rows = await catalogue(PASSAGES)
    assert [row["page"] for row in rows] == sorted(row["page"] for row in rows)
    assert {row["page"] for row in rows} == {1, 2}
    first = " ".join(row["text"] for row in rows if row["page"] == 1)
    assert first.index("left column goes on, line 11") < first.index(
        "right column goes on, line 00"
    )
    second = " ".join(" ".join(row["text"] for row in rows if row["page"] == 2).split())
    assert second == " ".join(PROSE.split())
    ends = [row["end"] for row in rows]
    assert all(
        start >= end for start, end in zip([r["start"] for r in rows[1:]], ends, strict=False)
    )


async def test_S9_progress_is_told_batch_by_batch(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, embedder: Watched
) -> None:
    """Committed with each batch, and 100 only at the end; words are found before that."""
    added = await add_text(client, LONG)
    seen: list[tuple[str, int, int | None]] = []

    async def look(_call: int) -> None:
        shown = (await client.get(f"/evidence/{added.json()['id']}")).json()
        seen.append((shown["status"], shown["progress"], shown["passage_count"]))
        listed = (await client.get("/evidence")).json()["items"]
        assert listed == [shown]

    embedder.before = look
    shown = await ingest(client, run_job, added)

    count = shown["passage_count"]
    sizes = [len(texts) for texts in embedder.asked]
    assert count > tasks.BATCH
    assert sizes == [tasks.BATCH] * (count // tasks.BATCH) + [count % tasks.BATCH][: count % 32]
    done = [100 * min(number * tasks.BATCH, count) // count for number in range(len(sizes))]
    assert seen == [("ingesting", percent, count) for percent in done]


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

    status = await asyncio.to_thread(
        _run_and_be_killed, {**committed.variables(), **bedplate_s3}, added["job_id"], at_call=2
    )

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


@pytest.mark.bad_day("A PDF as evidence that cannot be read", sees="`failed`, with the reason")
async def test_S9_a_pdf_that_cannot_be_read_fails_at_once_and_says_why(
    client: AsyncClient, run_job: RunJob, tmp_path: Path
) -> None:
    """Trying again could not help; the job has done what it can."""
    scanned = drawn(tmp_path / "a.pdf", lambda canvas: canvas.rect(0, 0, 100, 100, fill=1))
    for data, words in (
        (b"%PDF-1.7\nnothing", "damaged"),
        (scanned.read_bytes(), "no text"),
    ):
        shown = await ingest(client, run_job, await add_file(client, data))
        assert shown["status"] == "failed"
        assert words in shown["error"]


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
    await catalogue(
        "UPDATE bedplate.jobs SET state = 'running', worker = 'w:1', crashes = 2,"
        " lease_until = now() - interval '1 second'"
    )
    async with layer.owner_database.engine.begin() as connection:
        await ledger.rescue_expired(connection)

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


KILLED = """
import asyncio, os, signal, sys, uuid

from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Worker
from bedplate.layer import DataLayer
from systems.sme import tasks
from systems.sme.app import system
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

async def main():
    async with DataLayer.from_environment("sme") as layer:
        async with Worker(layer, layer.owner_database, registry_of(system.tasks)) as worker:
            await worker.run(uuid.UUID(sys.argv[1]))

asyncio.run(main())
"""


def _run_and_be_killed(variables: dict[str, str], job_id: str, *, at_call: int) -> int:
    """Run the job in a process of its own that is killed with -9 inside a call of the model."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), job_id, str(at_call)],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    return process.returncode
