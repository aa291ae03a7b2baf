"""The job: blocks read, translated, written; taken up after a death; refused with a reason."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pikepdf
import pytest
from httpx import AsyncClient

from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from systems.documents.limits import SAYS, PdfLimits, Reason
from systems.documents.sandbox import ReadPage, read_pages
from systems.pdf_translator import attempt
from systems.pdf_translator.attempt import FOLDER, translate_texts
from systems.pdf_translator.models.translation import KEPT_FOR
from systems.pdf_translator.settings import PdfTranslatorSettings
from systems.translation.engines import EngineError, EngineName, NoEngine, PairUnavailableError
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.documents import samples
from tests.systems.documents.bad_files import BAD, LIMITS
from tests.systems.pdf_translator.conftest import assert_problem, upload
from tests.texts import ROOT

BLOCKS = """
SELECT page_num, block_num, original_text, translated_text, coordinates::text AS coordinates
FROM document_blocks WHERE translation_id = $1::uuid ORDER BY page_num, block_num
"""
JOB = "SELECT id::text, state, progress FROM bedplate.jobs WHERE task LIKE 'pdf%translate_pdf'"
FILES = "SELECT key, state, expires_at FROM bedplate.stored_files ORDER BY created_at"
# The term, and what it must be in the result.
TERM, FIXED = "programs", "programas"


class Capitals:
    """An engine that shows its work, and does something before each call."""

    name: EngineName = "none"
    note: str | None = "in capitals"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: Callable[[int], Awaitable[None]] | None = None

    async def check_pair(self, source: str, target: str) -> None:
        """Every pair will do."""

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in capitals."""
        if self.before is not None:
            await self.before(len(self.asked) + 1)
        self.asked.append(text)
        return text.upper()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Capitals:
    """The engine of every job of the test."""
    made = Capitals()
    monkeypatch.setattr(PdfTranslatorSettings, "create_engine", lambda _: made)
    return made


async def begin(client: AsyncClient, catalogue: Catalogue, data: bytes) -> tuple[str, str]:
    """A translation that waits, and its job."""
    answer = await upload(client, data)
    assert answer.status_code == 202, answer.text
    (job,) = await catalogue(JOB)
    return answer.json()["id"], job["id"]


async def shown(client: AsyncClient, translation: str) -> dict[str, Any]:
    """The translation as its user sees it."""
    found: dict[str, Any] = (await client.get(f"/translations/{translation}")).json()
    return found


async def downloaded(client: AsyncClient, translation: str, path: Path) -> list[ReadPage]:
    """The translated PDF by its link, saved and read."""
    answer = await client.get(f"/translations/{translation}/download")
    assert answer.status_code == 307, answer.text
    async with httpx.AsyncClient() as browser:
        file = await browser.get(answer.headers["location"])
    assert file.status_code == 200
    assert file.headers["content-type"] == "application/pdf"
    await asyncio.to_thread(path.write_bytes, file.content)
    return [page async for page in read_pages(path)]


@pytest.fixture
def table(tmp_path: Path) -> bytes:
    """A table of three rows, on one page."""
    return samples.drawn(tmp_path / "table.pdf", samples.table).read_bytes()


@pytest.fixture
def book(tmp_path: Path) -> bytes:
    """Several pages of three paragraphs each, every one of them another."""
    pdf = pikepdf.new()
    for number in range(6):

        def draw(canvas: Any, number: int = number) -> None:
            for part in range(3):
                words = [f"page {number} part {part}.", *samples.PROSE[:40]]
                samples.paragraph(canvas, words, 72, 700 - 120 * part, 400)

        with pikepdf.open(samples.drawn(tmp_path / "page.pdf", draw)) as page:
            pdf.pages.extend(page.pages)
    pdf.save(tmp_path / "book.pdf")
    return (tmp_path / "book.pdf").read_bytes()


async def test_a_pdf_becomes_blocks_and_another_pdf(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, table: bytes, tmp_path: Path
) -> None:
    """With the default engine: the user's terms are translated, the rest is as it was."""
    entry = {"term": TERM, "translation": FIXED, "target_lang": "es"}
    assert (await client.post("/glossary", json=entry)).status_code == 201
    translation, job = await begin(client, catalogue, table)

    assert await run_job(job) is Outcome.SUCCEEDED

    done = await shown(client, translation)
    assert (done["status"], done["progress"], done["page_count"]) == ("completed", 100, 1)
    assert done["completed_at"] is not None
    assert (done["engine"], done["error"]) == ("glossary", None)
    assert "glossary" in done["note"]
    rows = await catalogue(BLOCKS, translation)
    texts = {row["original_text"]: row["translated_text"] for row in rows}
    assert texts["programs"] == "programas"
    assert texts["settings"] == "settings"
    assert [row["block_num"] for row in rows] == list(range(1, 10))
    before = {row["original_text"]: json.loads(row["coordinates"]) for row in rows}
    (page,) = await downloaded(client, translation, tmp_path / "out.pdf")
    after = {block.text: block.coordinates for block in page.blocks}
    assert after["programas"]["left"] == pytest.approx(before["programs"]["left"], abs=1)
    assert after["programas"]["top"] == pytest.approx(before["programs"]["top"], abs=4)
    original, translated = await catalogue(FILES)
    assert (original["state"], translated["state"]) == ("committed", "committed")
    assert abs(original["expires_at"] - translated["expires_at"]).total_seconds() < 1
    (kept,) = await catalogue("SELECT translated_path FROM translations")
    assert kept["translated_path"] == translated["key"]


async def test_P21_glossary_terms_are_kept_whatever_the_engine_says(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, table: bytes, engine: Capitals
) -> None:
    """The engine is shown a sign in the place of a term, and the rest of the text."""
    entry = {"term": TERM, "translation": FIXED, "target_lang": "es"}
    await client.post("/glossary", json=entry)
    await client.post("/glossary", json={**entry, "term": "settings", "target_lang": "de"})
    translation, job = await begin(client, catalogue, table)
    await run_job(job)

    texts = [row["translated_text"] for row in await catalogue(BLOCKS, translation)]
    assert FIXED in texts
    assert "SETTINGS" in texts
    assert TERM not in "".join(engine.asked)


async def test_no_block_is_translated_twice_when_an_engine_fails_and_recovers(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    book: bytes,
    engine: Capitals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was committed is kept; the reader sees what went wrong, and then that it goes on."""
    monkeypatch.setattr(attempt, "BLOCKS_A_STEP", 4)
    monkeypatch.setattr("bedplate.jobs.worker.BACKOFF", timedelta())

    async def fail_third(call: int) -> None:
        if call == 3 and engine.before is not None:
            engine.before = None
            raise EngineError("the engine is away")

    engine.before = fail_third
    translation, job = await begin(client, catalogue, book)
    assert await run_job(job) is Outcome.RETRIED
    halfway = await shown(client, translation)
    assert (halfway["status"], halfway["error"]) == (
        "in_progress",
        "EngineError: the engine is away",
    )
    assert 10 < halfway["progress"] < 90
    await catalogue("UPDATE bedplate.jobs SET run_at = now()")

    assert await run_job(job) is Outcome.SUCCEEDED
    done = await shown(client, translation)
    assert (done["status"], done["error"]) == ("completed", None)
    asked = Counter(part for text in engine.asked for part in text.split("\n\n"))
    assert set(asked.values()) == {1}
    rows = await catalogue(BLOCKS, translation)
    assert len(rows) == 18
    assert all(row["translated_text"] == row["original_text"].upper() for row in rows)


async def test_a_translation_whose_engine_stays_away_has_failed(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, table: bytes, engine: Capitals
) -> None:
    """After the last attempt the reader is told why, and nothing can be downloaded."""

    async def fail(_call: int) -> None:
        raise EngineError("the engine is away")

    engine.before = fail
    translation, job = await begin(client, catalogue, table)
    await catalogue("UPDATE bedplate.jobs SET max_attempts = 1")
    assert await run_job(job) is Outcome.DEAD

    failed = await shown(client, translation)
    assert (failed["status"], failed["error"]) == ("failed", "EngineError: the engine is away")
    assert_problem(await client.get(f"/translations/{translation}/download"), 409)


async def test_a_pair_that_is_gone_is_not_tried_again(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, table: bytes, engine: Capitals
) -> None:
    """It was there when the file was uploaded; no attempt of this job will find it."""

    async def lack(_call: int) -> None:
        raise PairUnavailableError("none", "en", "es", [])

    engine.before = lack
    translation, job = await begin(client, catalogue, table)
    assert await run_job(job) is Outcome.SUCCEEDED
    failed = await shown(client, translation)
    assert failed["status"] == "failed"
    assert "en to es" in failed["error"]


HOSTILE = [(make, reason) for make, reason in BAD if reason is not Reason.NO_PDF]


@pytest.mark.parametrize(
    ("make", "reason"), HOSTILE, ids=lambda value: getattr(value, "__name__", value)
)
async def test_a_bad_file_ends_its_translation_with_the_reason(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    make: Callable[[Path], object],
    reason: Reason,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once and for all: no second attempt, no half of a result, and the worker lives."""
    monkeypatch.setattr(attempt, "LIMITS", LIMITS)
    make(tmp_path / "bad.pdf")
    translation, job = await begin(client, catalogue, (tmp_path / "bad.pdf").read_bytes())

    assert await run_job(job) is Outcome.SUCCEEDED

    failed = await shown(client, translation)
    assert failed["status"] == "failed"
    assert failed["error"].startswith(SAYS[reason])
    assert failed["progress"] < 100
    assert_problem(await client.get(f"/translations/{translation}/download"), 409)
    assert len(await catalogue(FILES)) == 1
    assert not list(_folders())


async def test_a_file_of_too_many_bytes_for_the_job_is_refused_too(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    table: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limits of the door and of the job are changed by different deploys."""
    monkeypatch.setattr(attempt, "LIMITS", PdfLimits(size_bytes=100))
    translation, job = await begin(client, catalogue, table)
    assert await run_job(job) is Outcome.SUCCEEDED
    failed = await shown(client, translation)
    assert failed["error"].startswith(SAYS[Reason.TOO_LARGE])


async def test_a_translation_that_expires_meanwhile_leaves_no_file(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, table: bytes, engine: Capitals
) -> None:
    """What comes too late is not stored: nobody would ever delete it for its user."""

    async def expire(_call: int) -> None:
        await catalogue("UPDATE translations SET status = 'expired'")

    engine.before = expire
    translation, job = await begin(client, catalogue, table)
    assert await run_job(job) is Outcome.SUCCEEDED
    assert (await shown(client, translation))["status"] == "expired"
    assert len(await catalogue(FILES)) == 1
    assert assert_problem(await client.get(f"/translations/{translation}/download"), 410) == (
        "translation_expired"
    )


async def test_a_cancelled_job_stops_and_leaves_no_process(
    client: AsyncClient, catalogue: Catalogue, run_job: RunJob, table: bytes, engine: Capitals
) -> None:
    """At its next commit at the latest."""

    async def cancel(_call: int) -> None:
        await catalogue(
            "UPDATE bedplate.jobs SET state = 'cancelled', lease_until = NULL, finished_at = now()"
        )

    engine.before = cancel
    translation, job = await begin(client, catalogue, table)
    assert await run_job(job) is Outcome.CANCELLED
    rows = await catalogue(BLOCKS, translation)
    assert [row for row in rows if row["translated_text"] not in (None, row["original_text"])] == []
    assert not list(_folders())


async def test_P21_a_download_is_a_link_that_expires(
    client: AsyncClient,
    stranger: AsyncClient,
    nobody: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    table: bytes,
) -> None:
    """Not before it is complete, to nobody else, for minutes, and never after its 24 hours."""
    translation, job = await begin(client, catalogue, table)
    path = f"/translations/{translation}/download"
    assert assert_problem(await client.get(path), 409) == "translation_incomplete"
    await run_job(job)

    answer = await client.get(path)
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "private, no-store"
    link = urlsplit(answer.headers["location"])
    assert int(parse_qs(link.query)["X-Amz-Expires"][0]) <= 300
    assert "fhs.es.pdf" in parse_qs(link.query)["response-content-disposition"][0]
    assert_problem(await stranger.get(path), 404)
    assert_problem(await nobody.get(path), 401)

    await catalogue(
        "UPDATE translations SET created_at = now() - interval '24 hours', "
        "expires_at = now() + interval '100 seconds'"
    )
    soon = urlsplit((await client.get(path)).headers["location"])
    assert int(parse_qs(soon.query)["X-Amz-Expires"][0]) <= 100
    await catalogue("UPDATE translations SET expires_at = now()")
    assert_problem(await client.get(path), 410)


async def test_P21_events_show_the_progress_and_end_with_it(
    client: AsyncClient,
    stranger: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    book: bytes,
    engine: Capitals,
    layer: DataLayer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who watches sees each step, in its order; the engine waits until the step was seen."""
    monkeypatch.setattr(attempt, "BLOCKS_A_STEP", 6)
    translation, job = await begin(client, catalogue, book)
    path = f"/translations/{translation}/events"
    following = asyncio.create_task(client.get(path))

    async def wait_until_seen(_call: int) -> None:
        (row,) = await catalogue(JOB)
        async with asyncio.timeout(30):
            with layer.following.follow(uuid.UUID(job)) as follower:
                while (standing := await follower.next()) is not None:
                    if standing.progress == row["progress"]:
                        return

    engine.before = wait_until_seen
    await run_job(job)
    answer = await asyncio.wait_for(following, 30)

    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    events = [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]
    assert events[-1] == await shown(client, translation)
    assert events[-1]["status"] == "completed"
    percents = [event["progress"] for event in events]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 4
    assert answer.text.count("event: end") == 1
    assert_problem(await stranger.get(path), 404)


async def test_texts_are_translated_one_by_one_where_an_engine_joins_them() -> None:
    """A block must not get its neighbour's words, however an engine treats paragraphs."""

    class Joining(NoEngine):
        async def translate(self, text: str, source: str, target: str) -> str:
            return " ".join(text.upper().split())

    assert await translate_texts(Joining(), ["one", "two"], "en", "es") == ["ONE", "TWO"]
    assert await translate_texts(NoEngine(), ["one", "two"], "en", "es") == ["one", "two"]


async def test_what_a_killed_attempt_has_left_goes_when_the_files_do(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    table: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user's PDF must not lie in a folder of the worker's for ever."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old, young = tmp_path / f"{FOLDER}old", tmp_path / f"{FOLDER}young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "original.pdf").touch()
    passed = old.stat().st_mtime - KEPT_FOR.total_seconds() - 60
    os.utime(old, (passed, passed))
    _, job = await begin(client, catalogue, table)
    await run_job(job)
    assert [path.name for path in _folders()] == [young.name]


KILLED = """
import asyncio, os, signal, sys, uuid

from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Worker
from bedplate.layer import DataLayer
from systems.pdf_translator import attempt
from systems.pdf_translator.app import system
from systems.pdf_translator.settings import PdfTranslatorSettings
from systems.translation.engines import NoEngine

job, calls, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
attempt.BLOCKS_A_STEP = attempt.PAGES_A_STEP = 2

class Killer(NoEngine):
    async def translate(self, text, source, target):
        with open(log, "a") as file:
            print(text.replace(chr(10) * 2, chr(10)), file=file)
        with open(log) as file:
            if len(file.readlines()) > calls:
                os.kill(os.getpid(), signal.SIGKILL)
        return text.upper()

PdfTranslatorSettings.create_engine = lambda _: Killer()

async def main():
    async with DataLayer.from_environment("pdf_translator") as layer:
        async with Worker(layer, layer.owner_database, registry_of(system.tasks)) as worker:
            await worker.run(uuid.UUID(job))

asyncio.run(main())
"""


async def test_P21_a_killed_worker_is_followed_by_one_that_goes_on(
    client: AsyncClient,
    catalogue: Catalogue,
    run_job: RunJob,
    book: bytes,
    engine: Capitals,
    tmp_path: Path,
    committed: ScratchDatabase,
    bedplate_variables: dict[str, str],
) -> None:
    """kill -9 inside a call of the engine: what was committed stays, the call alone is repeated."""
    translation, job = await begin(client, catalogue, book)
    log = tmp_path / "asked.txt"
    assert (
        await asyncio.to_thread(_run_and_be_killed, committed, bedplate_variables, job, 7, log)
        == -signal.SIGKILL
    )
    half = await catalogue(BLOCKS, translation)
    assert len(half) == 18
    kept = [row["original_text"] for row in half if row["translated_text"] is not None]
    assert 6 <= len(kept) < 18
    before = await shown(client, translation)
    await catalogue("UPDATE bedplate.jobs SET lease_until = now()")

    assert await run_job(job) is Outcome.SUCCEEDED
    rows = await catalogue(BLOCKS, translation)
    assert [(row["page_num"], row["block_num"]) for row in rows] == [
        (page, block) for page in range(1, 7) for block in range(1, 4)
    ]
    assert all(row["translated_text"] == row["original_text"].upper() for row in rows)
    asked = {part for text in engine.asked for part in text.split("\n\n")}
    assert asked.isdisjoint(kept)
    done = await shown(client, translation)
    assert done["status"] == "completed"
    assert 0 < before["progress"] < done["progress"]


def _run_and_be_killed(
    scratch: ScratchDatabase, variables: dict[str, str], job: str, calls: int, log: Path
) -> int:
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), job, str(calls), str(log)],
        env={**os.environ, **variables, **scratch.variables(), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    return process.returncode


def _folders() -> Iterator[Path]:
    return Path(tempfile.gettempdir()).glob(f"{FOLDER}*")
