"""Translations: asked for, worked on chunk by chunk, followed, taken up again after a death."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from bedplate.jobs import ledger
from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from systems.librilabs.routes import translations
from systems.translation.engines import EngineError, EngineName, NoEngine, PairUnavailableError
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.librilabs.conftest import ask_for, count_all, upload_id
from tests.systems.librilabs.test_documents import assert_problem
from tests.texts import ROOT

# Some five chunks.
TEXT = "\n\n".join(f"Paragraph {number}. " + "Some words. " * 50 for number in range(60))
CHUNKS = """
SELECT index, source_start, source_end, translated_text
FROM translation_chunks
WHERE translation_id = $1::uuid
ORDER BY index
"""


class Watched:
    """An engine that marks what it was given, and does something before each call."""

    name: EngineName = "none"
    note: str | None = None

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: Any = None

    async def check_pair(self, source: str, target: str) -> None:
        """Every pair will do."""

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in capitals."""
        self.asked.append(text)
        if self.before is not None:
            await self.before(len(self.asked))
        return text.upper()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The engine that the job will take."""
    watched = Watched()
    monkeypatch.setattr("systems.translation.settings.create_engine", lambda *_: watched)
    return watched


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
    await _assert_chunks_are_whole(catalogue, translation["id"], len(TEXT))


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


async def test_L20_after_a_kill_the_job_goes_on_from_the_last_committed_chunk(
    client: AsyncClient,
    run_job: RunJob,
    catalogue: Catalogue,
    committed: ScratchDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call log has one repeat: the chunk that was in flight, and it is stored once."""
    log = tmp_path / "engine.log"
    monkeypatch.setenv("LIBRILABS_ENGINE_LOG", str(log))
    translation = (await ask_for(client, await upload_id(client, TEXT))).json()
    job_id = translation["translation_state"]["job_id"]

    status = await asyncio.to_thread(_run_and_be_killed, committed, job_id, at_call=3)
    assert status == -signal.SIGKILL
    assert len(await catalogue(CHUNKS, translation["id"])) == 2
    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert shown["status"] == "in_progress"
    assert 0 < shown["progress_percentage"] < 100
    # As when the lease has run out, without waiting for it.
    await catalogue("UPDATE bedplate.jobs SET lease_until = now() WHERE state = 'running'")
    assert await run_job(job_id) is Outcome.SUCCEEDED

    calls = [json.loads(line) for line in log.read_text().splitlines()]
    asked = Counter(call["chunk"] for call in calls)
    chunks = await _assert_chunks_are_whole(catalogue, translation["id"], len(TEXT))
    assert asked == {**dict.fromkeys(range(chunks), 1), 2: 2}
    assert {call["translation_id"] for call in calls} == {translation["id"]}
    assert len({call["pid"] for call in calls}) == 2
    assert (await client.get(f"/translations/{translation['id']}/content")).text == TEXT


async def test_L20_a_worker_that_lost_its_lease_commits_nothing(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, engine: Watched
) -> None:
    """Two workers with one job must not both write: the fence lets one."""
    translation = (await ask_for(client, await upload_id(client, TEXT))).json()
    job_id = translation["translation_state"]["job_id"]

    async def be_overtaken(call: int) -> None:
        if call == 2:
            engine.before = None
            await catalogue("UPDATE bedplate.jobs SET lease_until = now()")
            assert await run_job(job_id) is Outcome.SUCCEEDED

    engine.before = be_overtaken
    assert await run_job(job_id) in {Outcome.LOST, Outcome.DROPPED}

    await _assert_chunks_are_whole(catalogue, translation["id"], len(TEXT))
    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert (shown["status"], shown["progress_percentage"]) == ("completed", 100)


async def test_L20_deleting_the_document_cancels_its_jobs(
    client: AsyncClient, run_job: RunJob, layer: DataLayer, catalogue: Catalogue, engine: Watched
) -> None:
    """A job that waits never starts; one that runs writes nothing more."""
    document = await upload_id(client, TEXT)
    running = (await ask_for(client, document, "es")).json()["translation_state"]["job_id"]
    waiting = (await ask_for(client, document, "fr")).json()["translation_state"]["job_id"]

    async def delete(call: int) -> None:
        if call == 2:
            assert (await client.delete(f"/documents/{document}")).status_code == 204

    engine.before = delete
    assert await run_job(running) is Outcome.CANCELLED
    assert await run_job(waiting) is Outcome.DROPPED

    async with layer.reading() as session:
        for job_id in (running, waiting):
            assert (await ledger.load(session, uuid.UUID(job_id))).state == "cancelled"
    counted = await count_all(catalogue)
    assert (counted["translations"], counted["translation_chunks"]) == (0, 0)
    assert len(engine.asked) == 2


async def test_L20_a_failed_translation_is_queued_again_and_goes_on(
    client: AsyncClient, run_job: RunJob, catalogue: Catalogue, engine: Watched
) -> None:
    """The last attempt says so in the row; what was committed before is not asked for again."""
    document = await upload_id(client, TEXT)
    translation = (await ask_for(client, document)).json()
    job_id = translation["translation_state"]["job_id"]
    await catalogue("UPDATE bedplate.jobs SET max_attempts = 2")

    async def fail(call: int) -> None:
        if call >= 2:
            raise EngineError("the engine is tired")

    engine.before = fail
    assert await run_job(job_id) is Outcome.RETRIED
    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert shown["status"] == "in_progress"
    assert "tired" in shown["translation_state"]["error"]
    assert (await ask_for(client, document)).status_code == 200
    await catalogue("UPDATE bedplate.jobs SET run_at = now()")
    assert await run_job(job_id) is Outcome.DEAD
    ((status, progress),) = await catalogue("SELECT status, progress_percentage FROM translations")
    assert status == "failed"
    assert 0 < progress < 100

    again = await ask_for(client, document)
    assert again.status_code == 202
    assert again.json()["id"] == translation["id"]
    assert again.json()["status"] == "pending"
    assert again.json()["translation_state"]["error"] is None
    engine.before = None
    assert await run_job(again.json()["translation_state"]["job_id"]) is Outcome.SUCCEEDED
    assert (await client.get(f"/translations/{translation['id']}/content")).text == TEXT.upper()
    asked = Counter(engine.asked)
    assert asked.pop(engine.asked[0]) == 1, "the chunk that was committed"
    assert asked.pop(engine.asked[1]) == 3, "the chunk that failed twice"
    assert set(asked.values()) == {1}


async def test_a_translation_whose_workers_died_is_shown_as_failed(
    client: AsyncClient, catalogue: Catalogue, layer: DataLayer
) -> None:
    """A job that kills its workers is buried by the relay: nobody is left to write the row."""
    document = await upload_id(client, TEXT)
    translation = (await ask_for(client, document)).json()
    await catalogue(
        "UPDATE bedplate.jobs SET state = 'running', worker = 'w:1', crashes = 2,"
        " lease_until = now() - interval '1 second'"
    )
    async with layer.owner_database.engine.begin() as connection:
        await ledger.rescue_expired(connection)

    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert shown["status"] == "failed"
    assert "went silent" in shown["translation_state"]["error"]
    again = await ask_for(client, document)
    assert again.status_code == 202
    assert (
        again.json()["translation_state"]["job_id"] != (translation["translation_state"]["job_id"])
    )
    shown = (await client.get(f"/translations/{translation['id']}")).json()
    assert shown["status"] == "pending"


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


KILLED = """
import asyncio, os, signal, sys, uuid

from bedplate.jobs.tasks import registry_of
from bedplate.jobs.worker import Worker
from bedplate.layer import DataLayer
from systems.librilabs.routes import translations
from systems.librilabs.app import system
from systems.translation import settings as engines
from systems.translation.engines import NoEngine

class Killer(NoEngine):
    calls = 0
    async def translate(self, text, source, target):
        self.calls += 1
        if self.calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return text

engines.create_engine = lambda *_: Killer()

async def main():
    async with DataLayer.from_environment("librilabs") as layer:
        async with Worker(layer, layer.owner_database, registry_of(system.tasks)) as worker:
            await worker.run(uuid.UUID(sys.argv[1]))

asyncio.run(main())
"""


def _run_and_be_killed(scratch: ScratchDatabase, job_id: str, *, at_call: int) -> int:
    """Run the job in a process of its own that is killed with -9 inside a call of the engine."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), job_id, str(at_call)],
        env={**os.environ, **scratch.variables(), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    return process.returncode


async def _assert_chunks_are_whole(
    catalogue: Catalogue, translation_id: str, characters: int
) -> int:
    """Each chunk once, from the text's first character to its last. Answers how many."""
    rows = await catalogue(CHUNKS, translation_id)
    assert [row["index"] for row in rows] == list(range(len(rows)))
    starts = [row["source_start"] for row in rows]
    ends = [row["source_end"] for row in rows]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == characters
    return len(rows)
