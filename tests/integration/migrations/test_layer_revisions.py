"""Revisions of the layer's own tables, applied to a database that is in use."""

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from bedplate.migrations.layer_schema import (
    RECORD_VERSION,
    layer_head,
    layer_revisions,
    read_applied,
)
from bedplate.migrations.upgrade import upgrade

if TYPE_CHECKING:
    from bedplate.settings import Settings
    from bedplate.system import System

LIVE = """
INSERT INTO bedplate.jobs (task, queue, dedup_key, tenant, state, lease_until, worker, fence)
VALUES ('t', 'q', 'k', 'acme', 'ready', NULL, NULL, 0),
       ('t', 'q', 'l', NULL, 'sent', now() + interval '1 hour', NULL, 0),
       ('u', 'q', 'k', 'bob', 'running', now() + interval '1 hour', 'w', 1),
       ('t', 'q', NULL, NULL, 'ready', NULL, NULL, 0)
"""
ADD = "INSERT INTO bedplate.jobs (task, queue, dedup_key, tenant) VALUES ('t', 'q', $1, $2)"
JOBS = "SELECT to_jsonb(jobs) AS job FROM bedplate.jobs ORDER BY id"


async def test_dedup_keys_become_a_tenants_own_under_live_jobs(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """0008: jobs that wait and run stay as they are, and go on to be held to their keys."""
    await apply_until("0007", owner)
    await owner.execute(LIVE)
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(ADD, "k", "bob")
    before = await owner.fetch(JOBS)
    await upgrade(sample, settings)
    assert (await read_applied(owner))[-1] == layer_head()
    assert await owner.fetch(JOBS) == before
    await owner.execute(ADD, "k", "bob")
    await owner.execute(ADD, "k", None)
    for key, tenant in (("k", "acme"), ("k", "bob"), ("k", None), ("l", None)):
        with pytest.raises(asyncpg.UniqueViolationError):
            await owner.execute(ADD, key, tenant)


async def test_live_jobs_stay_as_they_are_when_a_trigger_checks_them(
    sample: "System", settings: "Settings", owner: Any
) -> None:
    """0009: what the constraints refused is refused, with the job's state in words."""
    await apply_until("0008", owner)
    await owner.execute(LIVE)
    before = await owner.fetch(JOBS)
    await upgrade(sample, settings)
    assert await owner.fetch(JOBS) == before
    with pytest.raises(asyncpg.CheckViolationError, match="a job may not become lost") as refused:
        await owner.execute("UPDATE bedplate.jobs SET state = 'lost'")
    assert (refused.value.table_name, refused.value.constraint_name) == ("jobs", "ck_jobs_row")


async def apply_until(number: str, owner: Any) -> None:
    """The database as an older version of the layer left it."""
    for revision in layer_revisions():
        if revision.number <= number:
            await owner.execute(revision.sql)
            await owner.execute(RECORD_VERSION, revision.number, revision.title)
