"""After 24 hours: files gone, rows told so. The clock is moved by moving every time back."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from bedplate.delivery.file_sweeper import FileSweeper
from bedplate.errors import NotFoundError, ObjectNotFoundError
from bedplate.files import stored_files
from bedplate.files.file_store import NewFile
from bedplate.files.keys import new_key, prefix_for
from bedplate.jobs.scheduler import Scheduler
from bedplate.jobs.worker import Outcome, Worker
from bedplate.layer import DataLayer
from systems.pdf_translator import tasks
from systems.pdf_translator.models.translation import KEPT_FOR
from systems.pdf_translator.tasks import expire
from tests.deploy import aws
from tests.systems.conftest import Catalogue
from tests.systems.pdf_translator.conftest import upload

ROWS = "SELECT status, error, job_id, original_path, translated_path FROM translations ORDER BY id"
MOVE = (
    """
UPDATE translations
   SET created_at = created_at - $1::interval, expires_at = expires_at - $1::interval
""",
    """
UPDATE bedplate.stored_files
   SET created_at = created_at - $1::interval, expires_at = expires_at - $1::interval,
       committed_at = committed_at - $1::interval
""",
)


async def later(catalogue: Catalogue, elapsed: timedelta) -> None:
    """It is this much later: the limit of 24 hours stays what it is."""
    assert timedelta(hours=24) == KEPT_FOR
    for statement in MOVE:
        await catalogue(statement, elapsed)


async def run_expiry(layer: DataLayer, worker: Worker) -> None:
    """The scheduled job, as a worker runs it."""
    async with layer.transaction() as uow:
        job_id = uow.enqueue(expire)
    assert await worker.run(job_id) is Outcome.SUCCEEDED


async def complete(layer: DataLayer, translation: str) -> str:
    """Give a translation a result. Returns the key of its file."""
    async with layer.transaction() as uow:
        file = await uow.store_file(
            b"%PDF-1.7", NewFile("a.pdf", "application/pdf", expires_in=KEPT_FOR)
        )
        await uow.session.execute(
            text(
                "UPDATE translations SET status = 'completed', progress = 100,"
                " translated_path = :key, translated_file_id = :file WHERE id = :id"
            ),
            {"key": file.key, "file": file.id, "id": uuid.UUID(translation)},
        )
    return file.key


async def test_P15_after_24_hours_files_are_gone_and_rows_told_so(
    client: AsyncClient, layer: DataLayer, worker: Worker, catalogue: Catalogue, sample: bytes
) -> None:
    """Original and translation, of what is done and of what is not."""
    made = [(await upload(client, sample)).json()["id"] for _ in range(3)]
    await complete(layer, made[0])
    await catalogue("UPDATE translations SET status = 'failed' WHERE id = $1", uuid.UUID(made[1]))
    rows = await catalogue(ROWS)
    keys = [row["original_path"] for row in rows] + [rows[0]["translated_path"]]

    await later(catalogue, timedelta(hours=24))
    await run_expiry(layer, worker)
    swept = await FileSweeper(layer).sweep()

    assert [row["status"] for row in await catalogue(ROWS)] == ["expired"] * 3
    listed = (await client.get("/translations")).json()["items"]
    assert {each["status"] for each in listed} == {"expired"}
    assert swept.deleted == len(keys) == 4
    for key in keys:
        with pytest.raises(ObjectNotFoundError):
            await layer.files.objects.head(key)


async def test_P15_before_24_hours_nothing_is_touched(
    client: AsyncClient, layer: DataLayer, worker: Worker, catalogue: Catalogue, sample: bytes
) -> None:
    """A minute before its time a file can still be had."""
    made = (await upload(client, sample)).json()["id"]
    key = await complete(layer, made)
    await later(catalogue, timedelta(hours=23, minutes=59))
    await run_expiry(layer, worker)
    assert not await FileSweeper(layer).sweep()
    assert (await client.get(f"/translations/{made}")).json()["status"] == "completed"
    assert (await layer.files.objects.head(key)).size_bytes == 8


async def test_P15_the_jobs_of_what_expires_are_cancelled(
    client: AsyncClient, layer: DataLayer, worker: Worker, catalogue: Catalogue, sample: bytes
) -> None:
    """A job that waited for a day has no file left to work on."""
    await upload(client, sample)
    await later(catalogue, timedelta(hours=24))
    await run_expiry(layer, worker)
    ((state,),) = await catalogue(
        "SELECT state FROM bedplate.jobs WHERE task = 'pdf_translator.translate_pdf'"
    )
    assert state == "cancelled"


async def test_P15_the_file_is_unreadable_from_its_end_on(
    client: AsyncClient, layer: DataLayer, catalogue: Catalogue, sample: bytes
) -> None:
    """Also while no job and no sweeper has been by."""
    await upload(client, sample)
    ((file_id,),) = await catalogue("SELECT original_file_id FROM translations")
    await later(catalogue, timedelta(hours=24))
    async with layer.reading() as session:
        with pytest.raises(NotFoundError):
            await stored_files.load_readable(session, file_id)


async def test_P15_many_that_expire_at_once_go_in_parts(
    client: AsyncClient,
    layer: DataLayer,
    worker: Worker,
    catalogue: Catalogue,
    sample: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One transaction for a busy day's files would hold them all locked."""
    monkeypatch.setattr(tasks, "EXPIRED_AT_ONCE", 2)
    for _ in range(5):
        await upload(client, sample)
    await later(catalogue, timedelta(hours=24))
    await run_expiry(layer, worker)
    assert [row["status"] for row in await catalogue(ROWS)] == ["expired"] * 5


async def test_P15_the_job_is_scheduled_every_minute(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """By the layer's scheduler; nobody has to call it."""
    assert str(expire.schedule) == "every 60 s"
    now = (await catalogue("SELECT clock_timestamp()"))[0][0]
    elapsed = timedelta(0)

    async def clock(_: object) -> object:
        return now + elapsed

    scheduler = Scheduler(layer, [expire], clock=clock)  # type: ignore[arg-type]
    assert await scheduler.tick() == []
    elapsed = timedelta(minutes=1)
    assert len(await scheduler.tick()) == 1
    ((task,),) = await catalogue("SELECT task FROM bedplate.jobs")
    assert task == "pdf_translator.expire"


def test_P15_the_buckets_own_rule_is_the_backstop() -> None:
    """It counts whole days, so it is never before the job; and it is for these files alone."""
    rules = aws.resource(aws.BUCKET_TEMPLATE, "Files")["LifecycleConfiguration"]["Rules"]
    (rule,) = [each for each in rules if "ExpirationInDays" in each]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 1)
    now = datetime.now(UTC)
    key = new_key(prefix_for("pdf_translator"), now, is_expiring=True)
    assert key.startswith(rule["Prefix"])
    for other in (new_key("pdf_translator", now), new_key("librilabs", now, is_expiring=True)):
        assert not other.startswith(rule["Prefix"])
