"""Translations: asked for, worked on chunk by chunk, followed to their end."""

import asyncio
import json
from typing import Any

import pytest
from httpx import AsyncClient

from bedplate.jobs.worker import Outcome
from systems.librilabs.routes import translations
from systems.translation.engines import NoEngine, PairUnavailableError
from tests.systems.conftest import Catalogue, RunJob, assert_problem
from tests.systems.librilabs.conftest import ask_for, count_all, upload_id
from tests.systems.librilabs.engines import CHUNKS, TEXT, Watched, assert_chunks_are_whole


async def test_L20_a_translation_is_asked_for_once_and_done_chunk_by_chunk(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, engine: Watched
) -> None:
    """Progress and state are written as it goes; the whole is put together once, at the end."""
    document = await upload_id(client, TEXT)
    answer = await ask_for(client, document)
    assert answer.status_code == 202
    translation = answer.json()
    assert translation["document_id"] == document
    assert (translation["status"], translation["progress_percentage"]) == ("pending", 0)
    assert_problem(await client.get(f"/translations/{translation['id']}/content"), 409)
    seen = []

    async def look(call: int) -> None:
        shown = (await client.get(f"/translations/{translation['id']}")).json()
        rows = await catalogue(CHUNKS, translation["id"])
        state = shown["translation_state"]
        assert state["chunks_done"] == len(rows) == call - 1
        assert (await client.get(f"/translations/{translation['id']}/content")).status_code == 409
        seen.append((shown["status"], shown["progress_percentage"]))

    engine.before = look
    assert await run_job(translation["translation_state"]["job_id"]) is Outcome.SUCCEEDED

    statuses, percents = zip(*seen, strict=True)
    assert set(statuses) == {"in_progress"}
    assert len(percents) >= 4
    assert percents[0] == 0
    assert list(percents) == sorted(set(percents)), "each chunk moves it"
    assert all(len(text.encode()) <= 8192 for text in engine.asked)
    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert (shown["status"], shown["progress_percentage"]) == ("completed", 100)
    assert shown["translation_state"]["characters_done"] == len(TEXT)
    content = await client.get(f"/translations/{translation['id']}/content")
    assert content.headers["content-type"] == "text/plain; charset=utf-8"
    assert content.text == TEXT.upper()
    await assert_chunks_are_whole(catalogue, translation["id"], len(TEXT))


async def test_L20_engine_none_leaves_the_text_and_the_translation_says_so(
    client: AsyncClient, run_job: RunJob
) -> None:
    """The default engine does not pretend to translate."""
    translation = (await ask_for(client, await upload_id(client, TEXT))).json()

    await run_job(translation["translation_state"]["job_id"])

    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert shown["translation_state"]["engine"] == "none"
    assert "unchanged" in shown["translation_state"]["note"]
    assert (await client.get(f"/translations/{translation['id']}/content")).text == TEXT


async def test_L20_the_translation_is_a_job_of_celery(librilabs: Any, catalogue: Catalogue) -> None:
    """A worker process that got the job's id by Celery finds this task by its name."""
    (translate,) = librilabs.tasks
    assert translate.name == "librilabs.translate"
    assert translate.queue == "translation"
    keys = await catalogue(
        "SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE conrelid = 'translation_chunks'::regclass AND contype IN ('p', 'u')"
    )
    assert [row["definition"] for row in keys] == ["PRIMARY KEY (translation_id, index)"]


async def test_L14_asking_twice_gives_the_same_translation(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue
) -> None:
    """202 the first time, then 200 with the same one: pending, and when it is done."""
    document = await upload_id(client, TEXT)
    answers = await asyncio.gather(*(ask_for(client, document) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    await run_job(answers[0].json()["translation_state"]["job_id"])
    again = await ask_for(client, document, " ES ")
    assert again.status_code == 200
    assert again.json()["id"] == answers[0].json()["id"]
    assert again.json()["status"] == "completed"
    other = await ask_for(client, document, "fr")
    assert (other.status_code, other.json()["id"] == again.json()["id"]) == (202, False)
    counted = await count_all(catalogue)
    assert (counted["translations"], counted["bedplate.jobs"]) == (2, 2)


async def test_an_empty_document_is_translated_into_an_empty_one(
    client: AsyncClient, run_job: RunJob
) -> None:
    """No chunk, no division by nothing."""
    translation = (await ask_for(client, await upload_id(client, ""))).json()

    assert await run_job(translation["translation_state"]["job_id"]) is Outcome.SUCCEEDED

    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert (shown["status"], shown["progress_percentage"]) == ("completed", 100)
    assert (await client.get(f"/translations/{translation['id']}/content")).text == ""


@pytest.mark.bad_day(
    "A language pair that the engine lacks",
    sees="422 with the pairs that there are; no job",
)
async def test_a_pair_that_the_engine_lacks_is_refused_before_there_is_a_job(
    client: AsyncClient, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the language that the document is in already."""

    class Lacking(NoEngine):
        async def check_pair(self, source: str, target: str) -> None:
            raise PairUnavailableError("apertium", source, target, ["eng-spa"])

    document = await upload_id(client, TEXT)
    same = await ask_for(client, document, "en")
    assert_problem(same, 422)
    monkeypatch.setattr("systems.translation.settings.create_engine", lambda *_: Lacking())
    lacking = await ask_for(client, document, "de")

    assert_problem(lacking, 422)
    assert lacking.json()["code"] == "language_pair_unavailable"
    assert "eng-spa" in lacking.json()["detail"]
    counted = await count_all(catalogue)
    assert (counted["translations"], counted["bedplate.jobs"]) == (0, 0)


async def test_events_show_the_progress_and_end_with_it(
    client: AsyncClient, run_job: RunJob, engine: Watched
) -> None:
    """A reader who watches sees the first state, what changes, and the end of the stream."""
    translation = (await ask_for(client, await upload_id(client, TEXT))).json()
    path = f"/translations/{translation['id']}/events"
    following = asyncio.create_task(client.get(path))

    await run_job(translation["translation_state"]["job_id"])
    answer = await asyncio.wait_for(following, 10)

    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]
    assert events[-1] == (await client.get(f"/translations/{translation['id']}")).json()
    assert events[-1]["status"] == "completed"
    percents = [event["progress_percentage"] for event in events]
    assert percents == sorted(percents)
    late = await client.get(path)
    assert late.text.count("data: ") == 2
    assert late.text.count("event: end") == 1


async def test_events_end_when_the_document_is_deleted(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of nothing would be open for ever."""
    looked = asyncio.Event()

    async def look(*arguments: Any) -> Any:
        shown = await load(*arguments)
        looked.set()
        return shown

    load = translations._load
    monkeypatch.setattr(translations, "_load", look)
    document = await upload_id(client, TEXT)
    translation = (await ask_for(client, document)).json()
    following = asyncio.create_task(client.get(f"/translations/{translation['id']}/events"))
    # Once to find it, and once in the stream.
    for _ in range(2):
        await asyncio.wait_for(looked.wait(), 10)
        looked.clear()

    await client.delete(f"/documents/{document}")
    answer = await asyncio.wait_for(following, 10)

    assert answer.status_code == 200
    assert answer.text.count("data: ") == 1
    assert "pending" in answer.text
