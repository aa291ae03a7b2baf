"""What a person does in the first five minutes, against the real processes of `bedplate run`.

Nothing is delayed in the product for the test's sake: to kill the worker in the middle of its
work, the test takes a row lock that the worker's next commit needs, and kills it while it waits.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import asyncpg
import httpx
import psutil
import pytest

from tests.texts import NOVEL, ROOT

BEDPLATE = [str(Path(sys.executable).parent / "bedplate")]
# Bounds for failure only; nothing waits this long when all is well.
PATIENCE_SECONDS = 90.0
LEASE_SECONDS = 3
PHRASE = "they were always on the most intimate terms"
HOLD = "SELECT progress_percentage, status FROM translations WHERE id = $1::uuid FOR UPDATE"
WORKER = "SELECT worker, fence FROM bedplate.jobs WHERE state = 'running'"


@dataclass
class Running:
    """`bedplate run` in a state folder of its own, ready to be used."""

    process: "subprocess.Popen[str]"
    address: str
    state: Path
    engine_log: Path

    def environment(self) -> dict[str, str]:
        """The variables of its servers, as `bedplate env` tells them."""
        answer = subprocess.run(
            [*BEDPLATE, "env", "-o", "json"],
            cwd=ROOT,
            env=os.environ | {"BEDPLATE_STATE_DIR": str(self.state)},
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, str] = json.loads(answer.stdout)["data"]["environment"]
        return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Everything, from an empty folder; ended by Ctrl-C, after which nothing may be left."""
    state, engine_log = tmp_path / "state", tmp_path / "engine.jsonl"
    port = _free_port()
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("DATABASE_URL") and name != "REDIS_URL"
    } | {
        "BEDPLATE_STATE_DIR": str(state),
        "BEDPLATE_LEASE": str(LEASE_SECONDS),
        "LIBRILABS_ENGINE": "none",
        "LIBRILABS_ENGINE_LOG": str(engine_log),
    }
    with (
        (tmp_path / "run.err").open("w+") as errors,
        subprocess.Popen(
            [*BEDPLATE, "run", "--port", str(port)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        family: list[psutil.Process] = []
        try:
            address = _read_address(process, errors)
            assert address == f"http://127.0.0.1:{port}"
            family = _family(process.pid, state)
            yield Running(process, address, state, engine_log)
        finally:
            family += _family(process.pid, state)
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_SECONDS)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    assert alive == [], "processes are left after Ctrl-C"


@asynccontextmanager
async def _database(running: Running) -> AsyncIterator[asyncpg.Connection]:
    url = running.environment()["LIBRILABS_DATABASE_URL"]
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_L20_killed_worker_is_replaced_and_the_translation_completes(
    running: Running, data_folder: Path
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

        _assert_at_most_one_repeat(running.engine_log)
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


def _read_address(process: "subprocess.Popen[str]", errors: IO[str]) -> str:
    """The address from the block that `run` prints when all is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("everything"):
            return line.split()[-1]
    errors.seek(0)
    raise AssertionError(f"`bedplate run` ended with {process.wait()}: {errors.read()}")


def _family(pid: int, state: Path) -> list[psutil.Process]:
    """`run`, its children, and the servers that work in its state folder."""

    def belongs(process: psutil.Process) -> bool:
        return process.pid == pid or str(state) in " ".join(process.cmdline()) + process.cwd()

    found = [each for each in psutil.process_iter() if _quietly(belongs, each)]
    for each in list(found):
        found += _quietly(lambda process: process.children(recursive=True), each) or []
    return list(dict.fromkeys(found))


def _quietly(ask: Callable[[psutil.Process], Any], process: psutil.Process) -> Any:
    try:
        return ask(process)
    except psutil.Error:
        return None


def _pid(worker: str) -> int:
    """The pid in a ledger's `<host>:<pid>`."""
    return int(worker.rpartition(":")[2])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
