"""Translations whose work is interrupted: killed, overtaken, cancelled, failing."""

import json
import signal
import uuid
from collections import Counter
from pathlib import Path

import pytest
from httpx import AsyncClient

from bedplate.jobs import ledger
from bedplate.jobs.worker import Outcome
from bedplate.layer import DataLayer
from bedplate.testing.clones import ScratchDatabase
from systems.translation.engines import EngineError
from tests.systems.conftest import Catalogue, RunJob
from tests.systems.deaths import bury, work_and_die
from tests.systems.librilabs.conftest import ask_for, count_all, upload_id
from tests.systems.librilabs.engines import CHUNKS, TEXT, Watched, assert_chunks_are_whole

KILLER = """
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
"""


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

    status = await work_and_die("librilabs", KILLER, committed.variables(), job_id, 3)
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
    chunks = await assert_chunks_are_whole(catalogue, translation["id"], len(TEXT))
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

    await assert_chunks_are_whole(catalogue, translation["id"], len(TEXT))
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
    await bury(catalogue, layer)

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
