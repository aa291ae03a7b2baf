"""The template: built once, whoever asks first, and never half."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bedplate.rows.database import Database
from bedplate.testing.background import BackgroundLoop
from bedplate.testing.clones import Clones
from tests.integration.migrations.sample_system.app import system as sample

if TYPE_CHECKING:
    from bedplate.testing.stack import Servers

READ_TEMPLATE = "SELECT oid, datallowconn FROM pg_database WHERE datname = $1"
# Roles and owners of the run are known by the names of the project's systems.
SYSTEM = replace(sample, name="librilabs")


@pytest.fixture
def two_workers(stack: "Servers") -> Iterator[list[Clones]]:
    """What two processes of a run have."""
    with (
        BackgroundLoop() as first,
        BackgroundLoop() as second,
        Clones(stack, first) as one,
        Clones(stack, second) as other,
    ):
        yield [one, other]


async def test_workers_share_one_template(two_workers: list[Clones], stack: "Servers") -> None:
    """Migrating is what takes long; a second of it per worker would be felt."""
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda clones: clones.clone(SYSTEM), two_workers))
    connection = await Database(stack.admin).connect()
    try:
        template = await connection.fetchrow(READ_TEMPLATE, two_workers[0].template_name(SYSTEM))
        assert template["datallowconn"] is False
    finally:
        await connection.close()
        for clones, scratch in zip(two_workers, made, strict=True):
            clones.drop(scratch)


async def test_template_that_was_never_finished_is_built_again(
    clones: Clones, stack: "Servers"
) -> None:
    """A builder that was killed leaves a database that looks like one, half migrated."""
    name = clones.template_name(SYSTEM)
    clones.drop(clones.clone(SYSTEM))
    connection = await Database(stack.admin).connect()
    try:
        half = await connection.fetchval(READ_TEMPLATE, name)
        await connection.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}_building"')
        clones.drop(clones.clone(SYSTEM))
        assert await connection.fetchval(READ_TEMPLATE, name) not in (None, half)
    finally:
        await connection.close()
