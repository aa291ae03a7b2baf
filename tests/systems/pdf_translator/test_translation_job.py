"""The job: blocks read, translated and written; followed, and its result downloaded."""

import asyncio
import json
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx import AsyncClient

from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from systems.pdf_translator import attempt
from systems.pdf_translator.attempt import translate_texts
from systems.translation.engines import EngineError, NoEngine
from tests.systems.conftest import Catalogue, RunJob, assert_problem
from tests.systems.pdf_translator.engines import Capitals
from tests.systems.pdf_translator.work import BLOCKS, FILES, JOB, begin, downloaded, shown

# The term, and what it must be in the result.
TERM, FIXED = "programs", "programas"


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
