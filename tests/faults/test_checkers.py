"""Each checker finds its violation, made by hand, and none is found on a healthy system."""

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from bedplate.consistency.finding import Finding, Subject
from bedplate.consistency.report import CHECKERS, check
from bedplate.files.clients import client_of
from bedplate.files.file_store import NewFile
from bedplate.files.keys import new_key
from bedplate.files.stored_files import StoredFile
from bedplate.layer import DataLayer
from bedplate.rows.database import Database
from bedplate.testing.clones import Clones, ScratchDatabase
from tests.faults.conftest import create_tables
from tests.faults.sample_system import SYSTEM, place_order
from tests.integration.files.weed import Weed

AT_ONCE = timedelta(0)
# The tests' servers sync nothing to the disk, which is what I2 finds.
DURABLE = frozenset(CHECKERS) - {2}
INSERT_JOB = """
INSERT INTO bedplate.jobs (task, queue, {columns}) VALUES ('t', 'default', {values})
"""
REFER = """
ALTER TABLE fault_orders ADD FOREIGN KEY (file_id) REFERENCES bedplate.stored_files (id)
"""


@pytest.fixture
async def spoilt(clones: Clones, redis_url: str) -> AsyncIterator[ScratchDatabase]:
    """A migrated database of the test's own, which it may spoil."""
    scratch = clones.clone(dataclasses.replace(SYSTEM, name="librilabs"), redis_url)
    await create_tables(scratch)
    yield scratch
    clones.drop(scratch)


@pytest.fixture
async def spoilt_layer(spoilt: ScratchDatabase, weed: Weed) -> AsyncIterator[DataLayer]:
    """An open layer on it; its files have a prefix of their own."""
    name = f"check-{spoilt.url.database[-8:]}"
    settings = spoilt.settings(**weed.s3_of(name).variables())
    async with DataLayer(settings, name=name) as layer:
        yield layer


@pytest.fixture
async def owner(spoilt: ScratchDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may do what the application may not."""
    connection = await Database(spoilt.url).connect()
    yield connection
    await connection.close()


async def findings(layer: DataLayer, invariant: int, **how: object) -> list[Finding]:
    """What the invariant's checker says when everything that lies there counts as forgotten."""
    subject = dataclasses.replace(Subject(layer, patience=AT_ONCE), **how)  # type: ignore[arg-type]
    return (await check(subject, only=frozenset({invariant}))).findings


async def test_a_healthy_system_has_no_finding(spoilt_layer: DataLayer) -> None:
    """A checker that cries wolf is switched off within a week."""
    async with spoilt_layer.transaction() as uow:
        await place_order(uow, "healthy", data=b"bytes")
    seen: list[int] = []
    report = await check(
        Subject(spoilt_layer, is_deep=True),
        only=DURABLE,
        on_result=lambda result: seen.append(result.invariant),
    )
    assert report.findings == []
    assert seen == sorted(DURABLE)
    looked_at = {each.invariant: each.checked.looked_at for each in report.results}
    assert (looked_at[7], looked_at[8]) == (1, 1)
    assert looked_at[1] > 20


async def test_I1_finds_a_row_whose_file_was_never_committed(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """The row is there, its file is not: a torn transaction."""
    await owner.execute(REFER)
    async with spoilt_layer.transaction() as uow:
        await place_order(uow, "torn", data=b"bytes")
    assert await findings(spoilt_layer, 1) == []
    await owner.execute(
        "UPDATE bedplate.stored_files SET state = 'pending', committed_at = NULL,"
        " pending_until = now() + interval '1 hour'"
    )
    (found,) = await findings(spoilt_layer, 1)
    assert "file is pending" in found.what
    assert not found.is_warning


async def test_I1_finds_a_constraint_that_is_gone_and_one_that_was_never_validated(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """What refuses wrong rows must be there to refuse them."""
    await owner.execute("DROP INDEX bedplate.uq_jobs_tenant_dedup_key_live")
    await owner.execute("ALTER TABLE bedplate.outbox DROP CONSTRAINT ck_outbox_dead")
    await owner.execute("ALTER TABLE bedplate.jobs DISABLE TRIGGER ck_jobs_row")
    await owner.execute("ALTER TABLE fault_orders ADD CHECK (note <> '') NOT VALID")
    found = await findings(spoilt_layer, 1)
    assert {each.subject for each in found} == {
        "uq_jobs_tenant_dedup_key_live in the schema bedplate",
        "ck_outbox_dead in the schema bedplate",
        "ck_jobs_row in the schema bedplate",
        "constraint fault_orders_note_check on fault_orders",
    }


async def test_I2_finds_commits_that_are_acknowledged_too_early(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """A setting of the database is as bad as one of the server, and easier to overlook."""
    database = await owner.fetchval("SELECT current_database()")
    before = await findings(spoilt_layer, 2)
    await owner.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    added = set(await findings(spoilt_layer, 2)) - set(before)
    assert "synchronous_commit=off for every role" in {each.subject for each in added}


@pytest.mark.parametrize(
    ("columns", "values", "says"),
    [
        ("run_at", "now() - interval '1 hour'", "nobody sends it"),
        ("state, lease_until", "'sent', now() - interval '1 hour'", "nobody offers it again"),
        (
            "state, lease_until, worker, fence, attempt",
            "'running', now() - interval '1 hour', 'w', 1, 1",
            "nobody offers it again",
        ),
    ],
)
async def test_I3_finds_a_job_that_nobody_moves(
    spoilt_layer: DataLayer, owner: asyncpg.Connection, columns: str, values: str, says: str
) -> None:
    """Without a relay a job waits for ever, and nobody is told."""
    await owner.execute(INSERT_JOB.format(columns=columns, values=values))
    (found,) = await findings(spoilt_layer, 3)
    assert says in found.what
    assert not found.is_warning


async def test_I3_warns_of_what_is_dead(spoilt_layer: DataLayer, owner: asyncpg.Connection) -> None:
    """Dead is an end, and one that a person should know of."""
    dead = INSERT_JOB.format(
        columns="state, finished_at, fence, attempt, last_error", values="'dead', now(), 1, 1, 'no'"
    )
    for _ in range(3):
        await owner.execute(dead)
    (found,) = await findings(spoilt_layer, 3)
    assert found.is_warning
    assert "3 jobs are dead" in found.what


async def test_I4_finds_an_end_that_nobody_had_claimed(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """Written by hand, or by code that goes round the ledger."""
    await owner.execute(
        INSERT_JOB.format(columns="state, finished_at", values="'succeeded', now()")
    )
    (found,) = await findings(spoilt_layer, 4)
    assert "nobody had claimed it" in found.what


async def test_I5_finds_a_claim_without_a_fence(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """Two owners with one fence both may write."""
    await owner.execute(
        INSERT_JOB.format(
            columns="state, lease_until, worker, attempt, fence",
            values="'running', now() + interval '1 hour', 'w', 2, 1",
        )
    )
    (found,) = await findings(spoilt_layer, 5)
    assert "did not raise the fence" in found.what


async def test_I6_finds_twins_that_an_index_should_have_refused(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """By the rows themselves, for the index is what may be missing."""
    await owner.execute("DROP INDEX bedplate.uq_jobs_tenant_dedup_key_live")
    await owner.execute("DROP INDEX bedplate.uq_jobs_group_key_running")
    later = "now() + interval '1 hour'"
    for _ in range(2):
        await owner.execute(INSERT_JOB.format(columns="dedup_key", values="'twin'"))
        await owner.execute(
            INSERT_JOB.format(
                columns="group_key, state, lease_until, worker, fence, attempt",
                values=f"'g', 'running', {later}, 'w', 1, 1",
            )
        )
    assert {each.subject for each in await findings(spoilt_layer, 6)} == {
        "task t, dedup key twin",
        "group g",
    }


async def test_I7_finds_an_object_that_is_gone_or_another(spoilt_layer: DataLayer) -> None:
    """Another of the same size is found by reading it: `is_deep`."""
    files = [await _store(spoilt_layer, f"{number}.txt") for number in range(4)]
    client, bucket = client_of(spoilt_layer.files.bucket), spoilt_layer.files.bucket.name
    client.delete_object(Bucket=bucket, Key=files[0].key)
    client.put_object(Bucket=bucket, Key=files[1].key, Body=b"longer than it was")
    client.put_object(Bucket=bucket, Key=files[2].key, Body=b"BYTES")
    shallow = {each.subject for each in await findings(spoilt_layer, 7)}
    deep = {each.subject for each in await findings(spoilt_layer, 7, is_deep=True)}
    names = [f"file {each.id} ({each.key})" for each in files]
    assert set(names[:2]) <= shallow
    assert deep == set(names[:3])


async def test_I7_looks_no_further_than_its_limit(spoilt_layer: DataLayer) -> None:
    """A million files are not to be read because somebody asked how it goes."""
    for number in range(3):
        await _store(spoilt_layer, f"{number}.txt")
    report = await check(Subject(spoilt_layer, limit=2), only=frozenset({7}))
    assert report.results[0].checked.looked_at == 2


async def test_I8_finds_an_object_without_a_row(spoilt_layer: DataLayer) -> None:
    """A warning while the sweeper may still take it, a failure after that."""
    key = new_key(spoilt_layer.files.system, datetime.now(UTC), is_expiring=False)
    await spoilt_layer.files.objects.put(key, b"lost", "text/plain")
    (found,) = await findings(spoilt_layer, 8)
    assert found.subject == f"object {key}"
    assert found.is_warning
    settings = spoilt_layer.settings.model_copy(update={"file_quarantine": timedelta(seconds=-60)})
    async with DataLayer(settings, name=spoilt_layer.name) as impatient:
        (found,) = await findings(impatient, 8)
    assert not found.is_warning


@pytest.mark.parametrize(
    "change",
    [
        "state = 'pending', committed_at = NULL, pending_until = now() - interval '1 hour'",
        "expires_at = now() - interval '1 hour'",
        "state = 'deleted', deleted_at = now() - interval '90 days'",
    ],
)
async def test_I8_finds_what_no_sweeper_takes(
    spoilt_layer: DataLayer, owner: asyncpg.Connection, change: str
) -> None:
    """Bytes that should be gone, and can still be read."""
    await _store(spoilt_layer, "late.txt")
    assert await findings(spoilt_layer, 8) == []
    await owner.execute(f"UPDATE bedplate.stored_files SET {change}")
    (found,) = await findings(spoilt_layer, 8)
    assert found.subject.startswith("file ")


async def test_I9_finds_an_invalidation_that_nobody_tells(spoilt_layer: DataLayer) -> None:
    """Until it is told, other processes may serve the old copy."""
    async with spoilt_layer.transaction() as uow:
        uow.invalidate("order:1")
    (found,) = await findings(spoilt_layer, 9)
    assert found.subject == "key order:1"


async def test_I9_warns_when_redis_is_away(spoilt_layer: DataLayer) -> None:
    """Nothing is wrong with the data, and nothing gets told either."""
    nowhere = spoilt_layer.settings.model_copy(
        update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}
    )
    async with DataLayer(nowhere, name=spoilt_layer.name) as layer:
        (found,) = await findings(layer, 9)
    assert (found.subject, found.is_warning) == ("Redis", True)


async def test_I10_finds_policies_that_bind_nobody(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """A policy without ENABLE is a comment."""
    await owner.execute("CREATE POLICY own ON fault_orders USING (note = current_user)")
    (found,) = await findings(spoilt_layer, 10)
    assert found.subject == "table fault_orders"


async def test_I11_finds_a_transaction_that_was_left_open(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """Whoever forgot it holds locks, and keeps dead rows."""
    async with owner.transaction():
        pid = await owner.fetchval("SELECT pg_backend_pid()")
        found = await findings(spoilt_layer, 11)
    assert [each.subject for each in found] == [f"pid {pid}"]


@pytest.mark.fault(47, holds="I12", every_run=True)
async def test_fault_47_the_doctor_names_who_keeps_dead_rows(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """The pid is what one needs to end it."""
    async with owner.transaction(isolation="repeatable_read"):
        pid = await owner.fetchval("SELECT pg_backend_pid()")
        found = await findings(spoilt_layer, 12)
    assert f"pid {pid}" in {each.subject for each in found}


async def test_I15_finds_a_password_in_an_error(
    spoilt_layer: DataLayer, owner: asyncpg.Connection
) -> None:
    """And does not repeat it."""
    secret = spoilt_layer.settings.database().password
    await owner.execute(
        INSERT_JOB.format(columns="last_error", values=f"'cannot log in with {secret}'")
    )
    (found,) = await findings(spoilt_layer, 15)
    assert secret not in repr(found)


async def test_a_check_changes_nothing(spoilt_layer: DataLayer, owner: asyncpg.Connection) -> None:
    """It runs where it hurts: every transaction of it is READ ONLY."""
    async with Subject(spoilt_layer).reading() as connection:
        assert await connection.scalar(text("SHOW transaction_read_only")) == "on"
        assert await connection.scalar(text("SHOW statement_timeout")) == "30s"


async def _store(layer: DataLayer, name: str) -> StoredFile:
    async with layer.transaction() as uow:
        return await uow.store_file(b"bytes", NewFile(name))
