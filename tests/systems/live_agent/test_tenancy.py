"""One organization never sees or changes another's rows: held by the database."""

import uuid
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from bedplate.errors import ConflictError
from bedplate.layer import DataLayer
from systems.live_agent.models import Base, Organization, Session, User
from systems.live_agent.repositories import Users, find_login
from tests.systems.conftest import Catalogue
from tests.systems.live_agent.asking import me, open_session
from tests.systems.schema import tables_of

SECURITY = """
SELECT c.relname AS name, c.relrowsecurity AS is_protected, c.relowner::regrole::text AS owner,
       array(SELECT pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p
             WHERE p.polrelid = c.oid) AS conditions
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""
DEFINERS = """
SELECT p.proname AS name, p.proconfig AS settings, p.proowner::regrole::text AS owner,
       has_function_privilege('public', p.oid, 'EXECUTE') AS is_public
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
"""


@pytest.fixture
async def tenants(ann: AsyncClient, bob: AsyncClient) -> tuple[str, str]:
    """Two organizations, each with its admin and a session."""
    await open_session(ann, "acme's room")
    await open_session(bob, "bob's room")
    return (await me(ann))["organization_id"], (await me(bob))["organization_id"]


async def test_A17_every_table_is_under_row_level_security(catalogue: Catalogue) -> None:
    """A table that is added without a policy is one that everybody reads."""
    rows = {row["name"]: row for row in await catalogue(SECURITY)}
    for name in await tables_of(catalogue):
        assert rows[name]["is_protected"], name
        (condition,) = rows[name]["conditions"]
        column = "id" if name == "organizations" else "organization_id"
        assert condition.startswith(f"({column} = "), condition
        assert "bedplate.tenant" in condition


async def test_A17_who_serves_is_neither_owner_nor_superuser(
    layer: DataLayer, catalogue: Catalogue
) -> None:
    """Policies bind neither; RESET must not lead to one of them."""
    owners = {row["owner"].strip('"') for row in await catalogue(SECURITY)}
    async with layer.reading() as session:
        await session.execute(text("RESET ROLE"))
        role = await session.scalar(text("SELECT current_user"))
        ((is_super, bypasses),) = await session.execute(
            text("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        )
    if not layer.settings.is_behind_pooler:
        assert role == layer.settings.serving_role()
        assert role not in owners
        assert not is_super
        assert not bypasses
    async with layer.reading() as session:
        role = await session.scalar(text("SELECT current_user"))
    assert role == layer.settings.serving_role()


async def test_A17_a_query_without_a_condition_sees_its_organization_alone(
    layer: DataLayer, tenants: tuple[str, str]
) -> None:
    """Of every table, and without an organization nothing."""
    for tenant in (*tenants, None, str(uuid.uuid4())):
        is_known = tenant in tenants
        async with layer.reading(tenant=tenant) as session:
            organizations = await session.scalars(select(Organization.id))
            assert [str(each) for each in organizations] == ([tenant] if is_known else [])
            for model in (User, Session):
                found = {str(each) for each in await session.scalars(select(model.organization_id))}
                assert found == ({tenant} if is_known else set())
            for table in Base.metadata.sorted_tables:
                count = await session.scalar(select(func.count()).select_from(table))
                assert is_known or count == 0, table.name


async def test_A17_nothing_is_written_into_another_organization(
    layer: DataLayer, tenants: tuple[str, str], catalogue: Catalogue
) -> None:
    """Neither inserted, nor updated, nor moved, nor deleted."""
    acme, bobs = tenants
    snapshot = "SELECT (SELECT array_agg(u ORDER BY id)::text FROM users u)"
    before = await catalogue(snapshot)
    rows: list[Any] = [
        User(email="spy@acme.example", hashed_password="x", organization_id=uuid.UUID(bobs)),
        Session(room_name="planted", organization_id=uuid.UUID(bobs)),
        Organization(name="Another"),
    ]
    for row in rows:
        with pytest.raises(DBAPIError, match="row-level security"):
            async with layer.transaction(tenant=acme) as uow:
                uow.add(row)
    async with layer.transaction(tenant=acme) as uow:
        for statement in (
            "UPDATE users SET full_name = 'x' WHERE organization_id = :other",
            "DELETE FROM sessions WHERE organization_id = :other",
            "DELETE FROM organizations WHERE id = :other",
        ):
            result = await uow.session.execute(text(statement), {"other": uuid.UUID(bobs)})
            assert getattr(result, "rowcount", None) == 0
    for table in ("users", "sessions"):
        with pytest.raises(DBAPIError, match="row-level security"):
            async with layer.transaction(tenant=acme) as uow:
                statement = f"UPDATE {table} SET organization_id = :other"
                await uow.session.execute(text(statement), {"other": uuid.UUID(bobs)})
    assert await catalogue(snapshot) == before


async def test_A17_another_organizations_rows_are_not_there(
    ann: AsyncClient, bob: AsyncClient
) -> None:
    """By id they are as unknown as an id of nobody's; in lists they are missing."""
    theirs = await open_session(bob, "bob's room")
    bobs_id = (await me(bob))["id"]
    await open_session(ann, "acme's room")

    for method, path, body in (
        ("GET", f"/sessions/{theirs}", None),
        ("POST", f"/sessions/{theirs}/start", None),
        ("POST", f"/sessions/{theirs}/end", None),
        ("PATCH", f"/members/{bobs_id}", {"is_active": False}),
    ):
        answer = await ann.request(method, path, json=body)
        assert answer.status_code == 404, path
        unknown = path.replace(theirs, str(uuid.uuid4())).replace(bobs_id, str(uuid.uuid4()))
        nobodys = await ann.request(method, unknown, json=body)
        assert nobodys.json()["code"] == answer.json()["code"]
    rooms = (await ann.get("/sessions")).json()["items"]
    assert [each["room_name"] for each in rooms] == ["acme's room"]
    members = (await ann.get("/members")).json()["items"]
    assert [each["email"] for each in members] == ["ann@acme.example"]
    assert (await bob.get(f"/sessions/{theirs}")).json()["status"] == "pending"
    assert (await me(bob))["is_active"]


async def test_A8_a_conflict_is_answered_alike_whosever_the_row_is(
    ann: AsyncClient, bob: AsyncClient
) -> None:
    """Else adding a member, or opening a room, would say who is where."""
    await open_session(ann, "own")
    await open_session(bob, "foreign")
    rooms = [await ann.post("/sessions", json={"room_name": name}) for name in ("own", "foreign")]
    members = [
        await ann.post("/members", json={"email": email, "password": "correct horse"})
        for email in ("ann@acme.example", "bob@bobs.example")
    ]
    for answers in (rooms, members):
        assert [answer.status_code for answer in answers] == [409, 409]
        assert answers[0].text == answers[1].text


async def test_A16_one_function_crosses_organizations_and_nothing_else(
    layer: DataLayer, tenants: tuple[str, str], catalogue: Catalogue
) -> None:
    """With a fixed search path, for the serving role alone, and telling what a login needs."""
    (function,) = await catalogue(DEFINERS)
    assert function["name"] == "find_login"
    assert function["settings"] == ["search_path=pg_catalog, pg_temp"]
    assert not function["is_public"]
    views = (
        "SELECT FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
    )
    assert await catalogue(views) == []

    async with layer.reading() as session:
        login = await find_login(session, " Ann@acme.example".strip())
        assert login is not None
        assert (str(login.organization_id), login.is_active) == (tenants[0], True)
        assert "$2b$" not in repr(login)
        assert await find_login(session, "nobody@acme.example") is None
        assert await find_login(session, "%") is None
        # Knowing the user is not seeing their row.
        assert await Users(session).find(login.user_id) is None
        row = (await session.execute(text("SELECT * FROM find_login('ann@acme.example')"))).one()
    assert set(row._mapping) == {"user_id", "hashed_password", "organization_id", "is_active"}


async def test_A16_of_two_who_sign_up_one_address_at_once_one_does(layer: DataLayer) -> None:
    """The lookup asks first; the unique key decides."""
    made = []
    for name in ("One", "Two"):
        organization_id = uuid.uuid4()
        try:
            async with layer.transaction(tenant=str(organization_id)) as uow:
                uow.add(Organization(id=organization_id, name=name))
                await uow.flush()
                user = User(email="a@b", hashed_password="x", organization_id=organization_id)
                await Users(uow.session).add(user)
        except ConflictError:
            continue
        made.append(name)
    async with layer.owner_transaction() as uow:
        assert list(await uow.session.scalars(select(Organization.name))) == made == ["One"]
