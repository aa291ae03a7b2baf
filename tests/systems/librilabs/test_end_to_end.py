"""What a person does in the first five minutes, against the real processes of `bedplate run`.

Nothing is delayed in the product for the test's sake: to kill the worker in the middle of its
work, the test takes a row lock that the worker's next commit needs, and kills it while it waits.
"""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from tests.systems.everything import PATIENCE_SECONDS, Running, everything
from tests.texts import NOVEL

LEASE_SECONDS = 3
PHRASE = "they were always on the most intimate terms"
HOLD = "SELECT progress_percentage, status FROM translations WHERE id = $1::uuid FOR UPDATE"
WORKER = "SELECT worker, fence FROM bedplate.jobs WHERE state = 'running'"


@pytest.fixture
def engine_log(tmp_path: Path) -> Path:
    """Where each call of the engine is noted."""
    return tmp_path / "engine.jsonl"


@pytest.fixture
def running(tmp_path: Path, engine_log: Path) -> Iterator[Running]:
    """Everything, from an empty folder."""
    variables = {
        "BEDPLATE_LEASE": str(LEASE_SECONDS),
        "LIBRILABS_ENGINE": "none",
        "LIBRILABS_ENGINE_LOG": str(engine_log),
    }
    with everything(tmp_path, variables) as running:
        yield running


@asynccontextmanager
async def _database(running: Running) -> AsyncIterator[asyncpg.Connection]:
    url = running.environment()["LIBRILABS_DATABASE_URL"]
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_L20_killed_worker_is_replaced_and_the_translation_completes(
    running: Running, data_folder: Path, engine_log: Path
) -> None:
    """The promise of the whole layer, on a whole novel and with kill -9 at 33 percent."""
    source = (data_folder / NOVEL).read_text(encoding="utf-8")
    api = httpx.AsyncClient(base_url=f"{running.address}/librilabs", timeout=PATIENCE_SECONDS)
    async with api as client, _database(running) as database:
        assert (await client.get("/docs")).status_code == 200
        document = await _upload(client, source)
        translation = await _ask_for_translation(client, document)

        killed, fence = await _kill_worker_at(database, translation, 33)
        await _await_completion(client, translation)
        await _assert_every_chunk_once(database, translation, source)
        job = await database.fetchrow("SELECT state, worker, fence, crashes FROM bedplate.jobs")
        assert (job["state"], job["fence"], job["crashes"]) == ("succeeded", fence + 1, 1)
        assert _pid(job["worker"]) != killed

        _assert_at_most_one_repeat(engine_log)
        assert (await client.get(f"/translations/{translation}/content")).text == source
        await _assert_phrase_is_found(client, document)


async def _upload(client: httpx.AsyncClient, text: str) -> str:
    answer = await client.post(
        "/documents",
        files={"file": ("pride.txt", text.encode(), "text/plain")},
        data={"source_language": "en"},
    )
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["id"]
    return key


async def _ask_for_translation(client: httpx.AsyncClient, document: str) -> str:
    answer = await client.post(
        f"/documents/{document}/translations", json={"target_language": "es"}
    )
    assert answer.status_code == 202, answer.text
    key: str = answer.json()["id"]
    return key


async def _kill_worker_at(
    database: asyncpg.Connection, translation: str, percent: int
) -> tuple[int, int]:
    """Kill -9 the process that the ledger names while it works. Returns its pid and fence."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        async with database.transaction():
            row = await database.fetchrow(HOLD, translation)
            assert row["status"] in ("pending", "in_progress"), "it was over before it was seen"
            if row["progress_percentage"] < percent:
                continue
            job = await database.fetchrow(WORKER)
            pid = _pid(job["worker"])
            victim = psutil.Process(pid)
            victim.kill()
            psutil.wait_procs([victim], timeout=PATIENCE_SECONDS)
            return pid, job["fence"]
    raise AssertionError(f"the translation never reached {percent} percent")


async def _await_completion(client: httpx.AsyncClient, translation: str) -> None:
    """Follow the server-sent events, which end when the translation does."""
    async with client.stream("GET", f"/translations/{translation}/events") as stream:
        lines = [line async for line in stream.aiter_lines() if line.startswith("data: ")]
    states: list[dict[str, Any]] = [json.loads(line.removeprefix("data: ")) for line in lines]
    percents = [state["progress_percentage"] for state in states]
    assert percents == sorted(percents), "progress went back"
    assert percents[0] >= 33, "a committed chunk was lost"
    assert (states[-1]["status"], percents[-1]) == ("completed", 100)


async def _assert_every_chunk_once(
    database: asyncpg.Connection, translation: str, source: str
) -> None:
    rows = await database.fetch(
        "SELECT index, source_start, source_end, translated_text FROM translation_chunks"
        " WHERE translation_id = $1::uuid ORDER BY index",
        translation,
    )
    assert len(rows) > 50
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert [row["source_start"] for row in rows] == [0, *(row["source_end"] for row in rows[:-1])]
    assert rows[-1]["source_end"] == len(source)
    assert "".join(row["translated_text"] for row in rows) == source


def _assert_at_most_one_repeat(log: Path) -> None:
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    counts = Counter(call["chunk"] for call in calls)
    assert len({call["pid"] for call in calls}) == 2
    repeats = {chunk: count for chunk, count in counts.items() if count > 1}
    assert sum(repeats.values()) - len(repeats) <= 1, repeats


async def _assert_phrase_is_found(client: httpx.AsyncClient, document: str) -> None:
    page = (await client.get("/documents", params={"q": f'"{PHRASE}"'})).json()
    assert [item["id"] for item in page["items"]] == [document]
    assert "<mark>" in page["items"][0]["highlight"]
    assert "intimate" in page["items"][0]["highlight"]


def _pid(worker: str) -> int:
    """The pid in a ledger's `<host>:<pid>`."""
    return int(worker.rpartition(":")[2])
