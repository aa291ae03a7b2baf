"""The schema that the initial migration makes, read from the catalogue and tried on rows."""

import re
import subprocess
import sys
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import RelationshipProperty, undefer

from bedplate.layer import DataLayer
from bedplate.rows.ids import new_id
from systems.live_agent.models import Base, Organization, Session, User
from tests.systems.conftest import Catalogue
from tests.systems.schema import (
    TIMESTAMPS,
    assert_as_models,
    columns_of,
    constraints_of,
    foreign_keys_of,
    refuses,
    tables_of,
)
from tests.texts import ROOT

UUID, TIME = "uuid", "timestamp with time zone"
INSERT_ORGANIZATION = "INSERT INTO organizations (name) VALUES ('Acme') RETURNING *"
INSERT_USER = """
INSERT INTO users (email, hashed_password, organization_id) VALUES ($1, 'x', $2) RETURNING *
"""
INSERT_SESSION = "INSERT INTO sessions (organization_id, room_name) VALUES ($1, $2) RETURNING *"


@pytest.fixture
async def acme(catalogue: Catalogue, committed: object) -> uuid.UUID:
    """A row of organizations."""
    return uuid.UUID(str((await catalogue(INSERT_ORGANIZATION))[0]["id"]))


async def test_the_head_has_exactly_what_the_models_have(catalogue: Catalogue) -> None:
    """One table, column or null more or less is somebody's surprise."""
    await assert_as_models(catalogue, Base.metadata)
    assert set(Base.metadata.tables) >= {"organizations", "users", "sessions"}
    for row in await catalogue(TIMESTAMPS):
        assert row["data_type"] == TIME, row["name"]


async def test_A5_every_model_inherits_from_one_base() -> None:
    """With a MetaData of its own: another system has a table `users`, too."""
    models = [mapper.class_ for mapper in Base.registry.mappers]
    assert {Organization, User, Session} <= set(models)
    assert all(issubclass(model, Base) for model in models)
    from systems.librilabs.models import Base as Other

    assert Other.metadata is not Base.metadata
    assert "users" in Other.metadata.tables


async def test_A6_organizations_has_its_columns_and_moments(
    catalogue: Catalogue, acme: uuid.UUID
) -> None:
    """Kept by the database, whoever writes."""
    assert await columns_of(catalogue, "organizations") == {
        "id": (UUID, False),
        "name": ("character varying(255)", False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }
    assert await constraints_of(catalogue, "organizations") == {
        "pk_organizations": "PRIMARY KEY (id)"
    }
    with pytest.raises(asyncpg.NotNullViolationError):
        await catalogue("INSERT INTO organizations (name) VALUES (NULL)")
    (before,) = await catalogue("SELECT * FROM organizations")
    assert isinstance(before["created_at"], datetime)
    assert before["updated_at"] == before["created_at"]
    (after,) = await catalogue("UPDATE organizations SET name = 'Acme Ltd' RETURNING *")
    assert after["updated_at"] > before["updated_at"]
    assert after["created_at"] == before["created_at"]


async def test_A7_users_has_its_columns_keys_and_defaults(
    catalogue: Catalogue, acme: uuid.UUID
) -> None:
    """An address is one user, in whichever organization."""
    assert await columns_of(catalogue, "users") == {
        "id": (UUID, False),
        "email": ("character varying(320)", False),
        "hashed_password": ("character varying(255)", False),
        "full_name": ("character varying(255)", True),
        "organization_id": (UUID, False),
        "role": ("character varying(20)", False),
        "is_active": ("boolean", False),
        "created_at": (TIME, False),
        "updated_at": (TIME, False),
    }
    constraints = await constraints_of(catalogue, "users")
    assert constraints["pk_users"] == "PRIMARY KEY (id)"
    assert constraints["uq_users_email"] == "UNIQUE (email)"
    assert constraints["fk_users_organization_id"] == (
        "FOREIGN KEY (organization_id) REFERENCES organizations(id) ON DELETE CASCADE"
    )
    (user,) = await catalogue(INSERT_USER, "ann@acme.example", acme)
    assert (user["role"], user["is_active"], user["full_name"]) == ("member", True, None)
    assert user["updated_at"] == user["created_at"]
    (after,) = await catalogue("UPDATE users SET full_name = 'Ann' RETURNING *")
    assert after["updated_at"] > user["updated_at"]
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_users_email"):
        await catalogue(INSERT_USER, "ann@acme.example", acme)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await catalogue(INSERT_USER, "bob@acme.example", uuid.uuid4())


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
async def test_A7_the_three_roles_are_roles(
    catalogue: Catalogue, acme: uuid.UUID, role: str
) -> None:
    """As specified."""
    await catalogue(INSERT_USER, "ann@acme.example", acme)
    (user,) = await catalogue("UPDATE users SET role = $1 RETURNING role", role)
    assert user["role"] == role


async def test_A7_what_is_no_role_and_what_is_written_twice_is_refused(
    catalogue: Catalogue, acme: uuid.UUID
) -> None:
    """By the database: psql and scripts write, too."""
    await catalogue(INSERT_USER, "ann@acme.example", acme)
    for role in ("owner", "Admin", ""):
        await refuses(catalogue, "ck_users_role", "UPDATE users SET role = $1", role)
    await refuses(catalogue, "ck_users_email", INSERT_USER, "Ann@acme.example", acme)
    for column in ("email", "hashed_password", "organization_id", "role", "is_active"):
        with pytest.raises(asyncpg.NotNullViolationError):
            await catalogue(f"UPDATE users SET {column} = NULL")


async def test_A8_sessions_has_its_columns_keys_and_defaults(
    catalogue: Catalogue, acme: uuid.UUID
) -> None:
    """A room's name is one session, in whichever organization."""
    assert await columns_of(catalogue, "sessions") == {
        "id": (UUID, False),
        "organization_id": (UUID, False),
        "room_name": ("character varying(255)", False),
        "status": ("character varying(20)", False),
        "started_at": (TIME, True),
        "ended_at": (TIME, True),
        "created_at": (TIME, False),
    }
    constraints = await constraints_of(catalogue, "sessions")
    assert constraints["pk_sessions"] == "PRIMARY KEY (id)"
    assert constraints["uq_sessions_room_name"] == "UNIQUE (room_name)"
    assert constraints["fk_sessions_organization_id"].startswith(
        "FOREIGN KEY (organization_id) REFERENCES organizations(id)"
    )
    (session,) = await catalogue(INSERT_SESSION, acme, "room")
    assert (session["status"], session["started_at"], session["ended_at"]) == (
        "pending",
        None,
        None,
    )
    assert isinstance(session["created_at"], datetime)
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_sessions_room_name"):
        await catalogue(INSERT_SESSION, acme, "room")
    for column in ("organization_id", "room_name", "status"):
        with pytest.raises(asyncpg.NotNullViolationError):
            await catalogue(f"UPDATE sessions SET {column} = NULL")


async def test_A8_what_is_no_status_is_refused(catalogue: Catalogue, acme: uuid.UUID) -> None:
    """Each of the four can be stored, and nothing else."""
    insert = "INSERT INTO sessions (organization_id, room_name, status) VALUES ($1, $2, $2)"
    for status in ("pending", "active", "completed", "error"):
        await catalogue(insert, acme, status)
    for status in ("ended", "Active", ""):
        # It has no end either, which is looked at first.
        await refuses(catalogue, "ck_sessions_(status|ended_at)", insert, acme, status)
    definition = (await constraints_of(catalogue, "sessions"))["ck_sessions_status"]
    assert set(re.findall(r"'(\w+)'", definition)) == {"pending", "active", "completed", "error"}


async def test_A8_unique_keys_contain_the_tenant_but_for_the_two_that_are_specified(
    catalogue: Catalogue,
) -> None:
    """A key over all organizations tells one of another's rows."""
    keys = set()
    for table in await tables_of(catalogue):
        for name, definition in (await constraints_of(catalogue, table)).items():
            if definition.startswith("UNIQUE") and "organization_id" not in definition:
                keys.add(name)
    assert keys == {"uq_users_email", "uq_sessions_room_name"}
    assert {column for _, column, *_ in await foreign_keys_of(catalogue)} == {"organization_id"}


async def test_A8_relationships_go_both_ways_and_none_is_loaded_implicitly(
    layer: DataLayer,
) -> None:
    """An implicit load would be a query in asynchronous code that nobody sees."""
    ways = {
        (mapper.class_.__name__, name): relationship
        for mapper in Base.registry.mappers
        for name, relationship in mapper.relationships.items()
    }
    for one, many, there, back in (
        ("Organization", "User", "users", "organization"),
        ("Organization", "Session", "sessions", "organization"),
    ):
        assert ways[one, there].mapper.class_.__name__ == many
        assert ways[many, back].mapper.class_.__name__ == one
        assert ways[one, there].back_populates == back
        assert ways[many, back].back_populates == there
    assert all(_is_explicit(each) for each in ways.values())

    organization = Organization(id=new_id(), name="Acme")
    async with layer.transaction(tenant=str(organization.id)) as uow:
        uow.add(organization)
        await uow.flush()
        uow.add(User(email="a@b", hashed_password="x", organization_id=organization.id))
        uow.add(Session(room_name="room", organization_id=organization.id))
    async with layer.reading(tenant=str(organization.id)) as session:
        await _raises_on(session)


async def _raises_on(session: AsyncSession) -> None:
    user = (await session.scalars(select(User))).one()
    room = (await session.scalars(select(Session))).one()
    acme = (await session.scalars(select(Organization))).one()
    for row, name in ((user, "organization"), (room, "organization"), (acme, "users")):
        with pytest.raises(InvalidRequestError, match="raise"):
            getattr(row, name)
    with pytest.raises(InvalidRequestError, match="raise"):
        _ = user.hashed_password
    statement = select(User).options(undefer(User.hashed_password))
    assert (await session.scalars(statement)).one().hashed_password == "x"


def _is_explicit(relationship: "RelationshipProperty[Any]") -> bool:
    return relationship.lazy == "raise"


def test_A9_the_models_are_imported_from_any_folder(tmp_path: Path) -> None:
    """As specified, in the project's environment; all three are registered."""
    program = (
        "from systems.live_agent.models import User, Organization, Session;"
        "from systems.live_agent.models import Base;"
        "assert {'users', 'organizations', 'sessions'} <= set(Base.metadata.tables)"
    )
    for folder in (ROOT, ROOT / "systems" / "live_agent", tmp_path):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{folder}: {ran.stderr}"
