"""Two organizations with the same data, and every table: the database itself keeps them apart.

The tables are the catalogue's, so a new one is tried by itself. The statements run as the serving
role, in transactions of the one organization; what there is is read as the owner of the schema.
"""

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError

from bedplate.layer import DataLayer
from bedplate.rows.policies import row_security_of
from bedplate.system import System
from systems.live_agent.models import Base
from tests.systems.conftest import Catalogue
from tests.systems.tenancy.conftest import Database, Pair
from tests.systems.tenancy.owners import Owner
from tests.systems.tenancy.surface import UUIDS

# What every row-level security needs to mean anything, by table.
PROTECTED = """
SELECT c.relname AS name, c.relrowsecurity AS is_on, count(p.oid) AS policies
FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
  AND c.relname <> 'alembic_version'
GROUP BY 1, 2
"""
# Functions that cross organizations, and are meant to.
DEFINERS = """
SELECT p.proname AS name, p.proconfig::text AS settings
FROM pg_proc p
WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
VIEWS = """
SELECT relname FROM pg_class
WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
"""
# As specified: unique over all organizations.
UNIQUE_OVER_ALL = {("users", ("email",)), ("sessions", ("room_name",))}


@pytest.fixture(params=["live_agent"])
def bedplate_system_name(request: pytest.FixtureRequest) -> str:
    """The systems whose owners the database itself keeps apart."""
    return str(request.param)


def tables(system: System) -> list[Table]:
    """Those of a system, parents first."""
    return list(system.metadata.sorted_tables)


def tenant_column(table: Table) -> str:
    """Which column says whose a row is."""
    (model,) = [each.class_ for each in Base.registry.mappers if each.local_table is table]
    return str(model.tenant_column)


def tenant_of(owner: Owner) -> str:
    """Whose transactions theirs are."""
    assert owner.tenant is not None
    return owner.tenant


async def test_every_table_is_under_a_policy(catalogue: Catalogue, bedplate_system: System) -> None:
    """By the catalogue, not by what the models say; and by what they say, too."""
    found = {row["name"]: row for row in await catalogue(PROTECTED)}
    assert set(found) == {table.name for table in tables(bedplate_system)}
    for name, row in found.items():
        assert row["is_on"], name
        assert row["policies"], name
    declared = {name for _, name in row_security_of(bedplate_system.metadata).tables}
    assert declared == set(found)
    # What goes past policies: one lookup, whose names nobody can have found elsewhere.
    assert await catalogue(VIEWS) == []
    (lookup,) = await catalogue(DEFINERS)
    assert lookup["name"] == "find_login"
    assert "search_path=pg_catalog" in lookup["settings"]


async def test_keys_name_the_organization(bedplate_system: System) -> None:
    """Unique and foreign keys are checked past all policies: they could tell, or point across."""
    for table in tables(bedplate_system):
        own = tenant_column(table)
        for constraint in table.constraints:
            columns = tuple(column.name for column in getattr(constraint, "columns", ()))
            if isinstance(constraint, UniqueConstraint):
                assert columns[0] == own or (table.name, columns) in UNIQUE_OVER_ALL, constraint
            if isinstance(constraint, ForeignKeyConstraint):
                assert columns[0] == own, constraint
                referred = constraint.elements[0].column
                assert referred.name == tenant_column(referred.table), constraint
            if isinstance(constraint, PrimaryKeyConstraint):
                assert columns == ("id",), constraint


async def test_no_row_of_another_organization_is_seen_or_changed(
    pair: Pair, layer: DataLayer, bedplate_system: System, database: Database
) -> None:
    """Whole tables and by id; read, updated, deleted, locked. Without a tenant there is nothing."""
    rows = await database.rows()
    for table in tables(bedplate_system):
        theirs = {
            found
            for line in rows[f"public.{table.name}"]
            if tenant_of(pair.other) in line
            for found in UUIDS.findall(line)[:1]
        }
        assert theirs, f"{table.name}: owners.py gives the other one no row"
        for statement in (
            f"SELECT t::text FROM {table.name} t",
            f"SELECT t::text FROM {table.name} t FOR UPDATE",
            f"SELECT t::text FROM {table.name} t WHERE id = ANY(CAST(:ids AS uuid[]))",
            f"UPDATE {table.name} t SET id = id RETURNING t::text",
            f"DELETE FROM {table.name} t WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING t::text",
        ):
            for tenant in (tenant_of(pair.one), None):
                seen = await run(layer, tenant, statement, ids=sorted(theirs))
                assert not set(UUIDS.findall(seen)) & pair.others_ids, (statement, tenant)
                if tenant is None:
                    assert not seen, statement
                elif ":ids" not in statement:
                    assert tenant in seen, statement
    assert await database.rows() == rows


async def run(layer: DataLayer, tenant: str | None, statement: str, **values: Any) -> str:
    """What it returns, as one text; all of it is rolled back."""
    async with layer.transaction(tenant=tenant) as uow:
        given = values if ":ids" in statement else {}
        found = (await uow.session.execute(text(statement), given)).scalars().all()
        uow.mark_rollback("only to see")
    return "\n".join(map(str, found))


async def test_no_row_can_be_given_to_another_organization(
    pair: Pair, layer: DataLayer, bedplate_system: System, catalogue: Catalogue
) -> None:
    """Neither inserted as theirs, nor moved to them; their own rows serve as the pattern."""
    for table in tables(bedplate_system):
        own = tenant_column(table)
        pattern = await catalogue(
            f"SELECT to_jsonb(t) AS row FROM {table.name} t WHERE {own} = $1::uuid LIMIT 1",
            pair.other.tenant,
        )
        row = json.loads(pattern[0]["row"])
        row["id"] = str(uuid.uuid4())
        insert = (
            f"INSERT INTO {table.name}"
            f" SELECT * FROM jsonb_populate_record(null::{table.name}, CAST(:row AS jsonb))"
        )
        move = f"UPDATE {table.name} SET {own} = CAST(:other AS uuid)"
        for statement, values in (
            (insert, {"row": json.dumps(row)}),
            (move, {"other": pair.other.tenant}),
        ):
            with pytest.raises(DBAPIError, match="row-level security"):
                async with layer.transaction(tenant=tenant_of(pair.one)) as uow:
                    await uow.session.execute(text(statement), values)


async def test_a_foreign_key_cannot_point_at_another_organizations_row(
    pair: Pair, layer: DataLayer, bedplate_system: System, catalogue: Catalogue
) -> None:
    """An own row that names their session or user, by id: refused, whatever the id is."""
    tried = 0
    for table in tables(bedplate_system):
        own = tenant_column(table)
        for constraint in table.foreign_key_constraints:
            for element in constraint.elements:
                column, referred = element.parent, element.column.table
                if column.name == own:
                    continue
                (theirs,) = await catalogue(
                    f"SELECT id FROM {referred.name}"
                    f" WHERE {tenant_column(referred)} = $1::uuid LIMIT 1",
                    pair.other.tenant,
                )
                with pytest.raises(DBAPIError, match="foreign key"):
                    async with layer.transaction(tenant=tenant_of(pair.one)) as uow:
                        await uow.session.execute(
                            text(f"UPDATE {table.name} SET {column.name} = :theirs"),
                            {"theirs": theirs["id"]},
                        )
                tried += 1
    assert tried
