"""One system after the other, with two owners of the same data in it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from bedplate.layer import DataLayer
from bedplate.system import System
from tests.systems.conftest import Catalogue, NewClient
from tests.systems.tenancy.owners import OWNERS, Owner
from tests.systems.tenancy.surface import UUIDS

# Every row of every table, the layer's own among them, as text: what changes shows, and whose.
TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'bedplate')
  AND c.relname NOT IN ('alembic_version', 'version')
ORDER BY 1
"""


@pytest.fixture(params=sorted(OWNERS))
def bedplate_system_name(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture
def bedplate_variables(bedplate_s3: dict[str, str]) -> Mapping[str, str]:
    """With files."""
    return bedplate_s3


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that can translate."""
    monkeypatch.setenv("PDF_TRANSLATOR_ENGINE", "glossary")
    for variable in ("LIBRILABS_ENGINE", "LIBRILABS_LIBRETRANSLATE_URL"):
        monkeypatch.delenv(variable, raising=False)


@dataclass(frozen=True)
class Database:
    """Every row there is, as the owner of the schema sees it."""

    ask: Catalogue

    async def rows(self) -> dict[str, list[str]]:
        """By table."""
        names = [row["name"] for row in await self.ask(TABLES)]
        return {
            name: [
                str(row["line"]) for row in await self.ask(f"SELECT t::text AS line FROM {name} t")
            ]
            for name in names
        }

    async def ids(self) -> set[str]:
        """All ids in all rows: of rows, of jobs, of files, of owners."""
        rows = await self.rows()
        return {found for lines in rows.values() for line in lines for found in UUIDS.findall(line)}


@pytest.fixture
def database(catalogue: Catalogue) -> Database:
    """What there is."""
    return Database(catalogue)


@dataclass(frozen=True)
class Pair:
    """Two owners: one tries, the other's data must stay unseen and unchanged."""

    app: FastAPI
    one: Owner
    other: Owner
    # Every id that came with the other's data.
    others_ids: frozenset[str]


@pytest.fixture
async def pair(
    layer: DataLayer,
    new_client: NewClient,
    bedplate_system: System,
    bedplate_system_name: str,
    database: Database,
) -> AsyncIterator[Pair]:
    """Both of them, with the same data; the other's ids are those that came with it."""
    make = OWNERS[bedplate_system_name]
    async with AsyncExitStack() as opened:
        one, other = [await opened.enter_async_context(new_client()) for _ in range(2)]
        transport: Any = one._transport
        first = await make(one, layer, "one")
        before = await database.ids()
        second = await make(other, layer, "other")
        yield Pair(transport.app, first, second, frozenset(await database.ids() - before))
