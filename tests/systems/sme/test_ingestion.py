"""The job that ingests: evidence cut and embedded, batch by batch."""

from pathlib import Path

import numpy as np
import pytest
from httpx import AsyncClient
from reportlab.pdfgen.canvas import Canvas

from systems.sme import tasks
from systems.sme.embedding import load_embedder
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.documents.samples import TEXT as PROSE
from tests.systems.documents.samples import drawn, paragraph, two_columns
from tests.systems.sme.conftest import PASSAGES, add_file, add_text, ingest
from tests.systems.sme.embedders import LONG, Watched


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
