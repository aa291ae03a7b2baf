"""Jobs that end otherwise: engines that are gone, bad files, expiry, cancellation, kills."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from httpx import AsyncClient

from bedplate.jobs.worker import Outcome
from bedplate.testing.clones import ScratchDatabase
from systems.documents.limits import SAYS, PdfLimits, Reason
from systems.pdf_translator import attempt
from systems.pdf_translator.attempt import FOLDER
from systems.pdf_translator.models.translation import KEPT_FOR
from systems.translation.engines import EngineError, PairUnavailableError
from tests.systems.conftest import Catalogue, RunJob, assert_problem
from tests.systems.deaths import work_and_die
from tests.systems.documents.bad_files import BAD, LIMITS
from tests.systems.pdf_translator.engines import Capitals
from tests.systems.pdf_translator.work import BLOCKS, FILES, begin, shown


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


KILLER = """
from systems.pdf_translator import attempt
from systems.pdf_translator.settings import PdfTranslatorSettings
from systems.translation.engines import NoEngine

calls, log = int(sys.argv[2]), sys.argv[3]
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
    variables = {**bedplate_variables, **committed.variables()}
    status = await work_and_die("pdf_translator", KILLER, variables, job, 7, log)
    assert status == -signal.SIGKILL
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


def _folders() -> Iterator[Path]:
    return Path(tempfile.gettempdir()).glob(f"{FOLDER}*")
