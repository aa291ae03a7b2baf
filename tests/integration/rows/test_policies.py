"""Row-level security at work, and as autogenerate sees it."""

import uuid
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    MetaData,
    String,
    Table,
    Uuid,
    func,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bedplate.migrations import grants
from bedplate.rows.database import Database
from bedplate.rows.models import Model, UUIDKey, new_metadata
from bedplate.rows.policies import Policy, TenantOwned, declare_policy, protect, row_security_of
from bedplate.rows.policy_operations import CreatePolicyOp
from bedplate.rows.tenancy import Terms, bind
from bedplate.testing.clones import ScratchDatabase
from tests.integration.rows.conftest import MakeDatabase
from tests.integration.rows.revisions import apply, differences, kinds, migration, run


class Base(Model, DeclarativeBase):
    """The base of this file's models."""

    metadata = new_metadata()


class Note(UUIDKey, TenantOwned, Base):
    """Somebody's note."""

    __tablename__ = "notes"
    tenant_column = "organization_id"
    organization_id: Mapped[uuid.UUID] = mapped_column(index=True)
    words: Mapped[str] = mapped_column(String(20))


ACME, BOB = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
async def serving(
    make_database: MakeDatabase, blank_database: ScratchDatabase
) -> AsyncIterator[Database]:
    """The notes of two tenants, in a database that is entered as the serving role."""
    owner = make_database()
    async with owner.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        role = grants.quote_identifier(blank_database.role)
        await connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO {role}"))
    async with owner.session() as session:
        for tenant in (ACME, BOB):
            session.add_all(Note(organization_id=tenant, words=word) for word in ("one", "two"))
        await session.commit()
    async with Database(blank_database.url, role=blank_database.role) as database:
        yield database


def as_tenant(database: Database, tenant: uuid.UUID | None) -> AsyncSession:
    """A session whose transactions are this tenant's."""
    session = database.session()
    bind(session.sync_session, Terms(tenant=None if tenant is None else str(tenant)))
    return session


async def test_each_tenant_sees_its_own_rows_and_nobody_sees_none(serving: Database) -> None:
    """With a query that names no tenant at all; an empty name is nobody, too."""
    for tenant, expected in ((ACME, {ACME}), (BOB, {BOB}), (None, set())):
        async with as_tenant(serving, tenant) as session:
            assert set(await session.scalars(select(Note.organization_id))) == expected
    async with serving.session() as session:
        await session.execute(text("SELECT set_config('bedplate.tenant', '', true)"))
        assert await session.scalar(select(func.count()).select_from(Note)) == 0


async def test_another_tenants_rows_are_neither_changed_nor_deleted(serving: Database) -> None:
    """An UPDATE without a WHERE is one tenant's at most."""
    async with as_tenant(serving, ACME) as session:
        for statement in ("UPDATE notes SET words = 'mine'", "DELETE FROM notes"):
            result = await session.execute(text(statement))
            assert getattr(result, "rowcount", None) == 2
        await session.commit()
    async with as_tenant(serving, BOB) as session:
        words = await session.scalars(select(Note.words))
        assert sorted(words) == ["one", "two"]


@pytest.mark.parametrize("tenant", [ACME, None])
async def test_a_row_is_not_written_for_another_tenant(
    serving: Database, tenant: uuid.UUID | None
) -> None:
    """Neither inserted nor moved there."""
    async with as_tenant(serving, tenant) as session:
        session.add(Note(organization_id=BOB, words="planted"))
        with pytest.raises(DBAPIError, match="row-level security"):
            await session.commit()
    if tenant is not None:
        async with as_tenant(serving, tenant) as session:
            with pytest.raises(DBAPIError, match="row-level security"):
                await session.execute(
                    text("UPDATE notes SET organization_id = :other"), {"other": BOB}
                )


async def test_a_tenant_that_is_no_uuid_sees_nothing(serving: Database) -> None:
    """Whatever a name is, it does not open a table."""
    async with serving.session() as session:
        bind(session.sync_session, Terms(tenant="' OR true --"))
        with pytest.raises(DBAPIError, match="invalid input syntax"):
            await session.scalars(select(Note.id))


async def test_the_owner_is_not_bound_and_so_can_dump(
    serving: Database, make_database: MakeDatabase
) -> None:
    """pg_dump runs with row_security off, and would fail on a table that is FORCEd."""
    async with make_database().session() as session:
        await session.execute(text("SET row_security = off"))
        assert await session.scalar(select(func.count()).select_from(Note)) == 4


async def test_the_tenants_index_is_used(serving: Database) -> None:
    """The condition must not cost every tenant a look at every other's rows."""
    async with as_tenant(serving, ACME) as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(await session.scalars(text("EXPLAIN SELECT * FROM notes")))
    assert "ix_notes_organization_id" in plan
    assert "InitPlan" in plan


async def test_autogenerate_finds_nothing_on_unchanged_models(serving: Database) -> None:
    """PostgreSQL keeps a condition in words of its own: the comparison must know them."""
    async with make_owner(serving) as owner:
        assert await run(owner, lambda connection: differences(connection, Base.metadata)) == []


def make_owner(serving: Database) -> Database:
    """The same database, entered as the owner of its tables."""
    return Database(serving.url)


async def test_a_schema_from_nothing_and_back_to_nothing(blank: Database) -> None:
    """Tables, row-level security and policies in one revision, as the first of a system is."""

    def migrate(connection: Connection) -> None:
        up, down = migration(connection, Base.metadata)
        assert kinds(up)[-2:] == ["EnableRowSecurityOp", "CreatePolicyOp"]
        assert kinds(down)[:2] == ["DropPolicyOp", "DisableRowSecurityOp"]
        apply(connection, up)
        assert differences(connection, Base.metadata) == []
        apply(connection, down)
        assert differences(connection, MetaData()) == []

    await run(blank, migrate)


async def test_a_table_that_goes_can_come_back_with_its_policies(blank: Database) -> None:
    """The table takes them along; only a revision that says so can bring them back."""

    def migrate(connection: Connection) -> None:
        Base.metadata.create_all(connection)
        up, down = migration(connection, MetaData())
        assert kinds(up)[:2] == ["DropPolicyOp", "DisableRowSecurityOp"]
        apply(connection, up)
        apply(connection, down)
        assert differences(connection, Base.metadata) == []

    await run(blank, migrate)


def sample(*policies: Policy, is_protected: bool = False) -> MetaData:
    """Two tables, and what is declared of the second."""
    metadata = new_metadata()
    Table("owners", metadata, Column("id", Uuid, primary_key=True))
    things = Table(
        "things",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("owner_id", ForeignKey("owners.id")),
        Column("state", String(10)),
        CheckConstraint("state <> ''", name="state"),
    )
    for policy in policies:
        declare_policy(metadata, policy)
    if is_protected:
        protect(things)
    return metadata


FORMS = (
    Policy("seen", "things", "state in ('a', 'b') /* a comment */", command="SELECT"),
    Policy("made", "things", check="owner_id is not null and state='a'", command="INSERT"),
    Policy("moved", "things", "state = 'a'", "state = 'b'", "UPDATE"),
    Policy("gone", "things", "TRUE", command="DELETE"),
    Policy("kept", "things", "state = 'it''s :x'::text", is_restrictive=True),
    Policy(
        "known",
        "things",
        "EXISTS (SELECT FROM owners o WHERE o.id = things.owner_id)"
        " AND (SELECT count(*) FROM owners) > 0",
    ),
)


async def test_every_form_of_a_policy_is_recognised_again(blank: Database) -> None:
    """Commands, checks, restrictive ones, subqueries: none is found changed for ever."""

    def migrate(connection: Connection) -> None:
        metadata = sample(*FORMS)
        up, _ = migration(connection, metadata)
        assert kinds(up).count("CreatePolicyOp") == len(FORMS)
        apply(connection, up)
        assert differences(connection, metadata) == []
        count = text("SELECT count(*) FROM pg_policies WHERE tablename = 'things'")
        assert connection.scalar(count) == len(FORMS)

    await run(blank, migrate)


@pytest.mark.parametrize(
    "changed",
    [
        Policy("p", "things", "state = 'b'"),
        Policy("p", "things", "state = 'a'", "state = 'b'"),
        Policy("p", "things", "state = 'a'", command="SELECT"),
        Policy("p", "things", "state = 'a'", is_restrictive=True),
    ],
    ids=["condition", "check", "command", "kind"],
)
async def test_a_changed_policy_is_dropped_and_made_again(blank: Database, changed: Policy) -> None:
    """And the downgrade restores what was there."""
    before, after = sample(Policy("p", "things", "state = 'a'")), sample(changed)

    def migrate(connection: Connection) -> None:
        before.create_all(connection)
        up, down = migration(connection, after)
        assert kinds(up) == ["DropPolicyOp", "CreatePolicyOp"]
        apply(connection, up)
        assert differences(connection, after) == []
        apply(connection, down)
        assert differences(connection, before) == []

    await run(blank, migrate)


async def test_a_policy_on_a_column_that_is_new_comes_after_it(blank: Database) -> None:
    """It cannot be compared before the column is there, and must not be created before."""
    before = sample(Policy("p", "things", "state = 'a'"))
    after = sample(Policy("p", "things", "region = 'eu'"))
    after.tables["things"].append_column(Column("region", String(2)))

    def migrate(connection: Connection) -> None:
        before.create_all(connection)
        up, down = migration(connection, after)
        assert kinds(up) == ["DropPolicyOp", "ModifyTableOps", "CreatePolicyOp"]
        assert isinstance(up[-1], CreatePolicyOp)
        apply(connection, up)
        assert differences(connection, after) == []
        apply(connection, down)
        assert differences(connection, before) == []

    await run(blank, migrate)


async def test_a_table_is_closed_and_opened_again(blank: Database) -> None:
    """A declaration that is gone must not leave a table of which nobody sees a row."""

    def migrate(connection: Connection) -> None:
        sample().create_all(connection)
        up, _ = migration(connection, sample(is_protected=True))
        assert kinds(up) == ["EnableRowSecurityOp"]
        apply(connection, up)
        up, _ = migration(connection, sample())
        assert kinds(up) == ["DisableRowSecurityOp"]
        apply(connection, up)
        assert differences(connection, sample()) == []

    await run(blank, migrate)


async def test_a_policy_for_one_role_is_left_alone(blank: Database) -> None:
    """It was written by hand: autogenerate takes away neither it nor the table's security."""

    def migrate(connection: Connection) -> None:
        sample().create_all(connection)
        connection.execute(text("ALTER TABLE things ENABLE ROW LEVEL SECURITY"))
        connection.execute(text("CREATE POLICY mine ON things TO CURRENT_USER USING (true)"))
        assert differences(connection, sample()) == []

    await run(blank, migrate)


async def test_the_comparison_neither_changes_nor_locks_the_table(
    blank: Database, make_database: MakeDatabase
) -> None:
    """`alembic check` is run on a database that serves."""
    metadata = sample(*FORMS)
    async with blank.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    async with make_database().engine.begin() as writer:
        await writer.execute(text("LOCK TABLE things IN ROW EXCLUSIVE MODE"))

        def check(connection: Connection) -> None:
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert differences(connection, metadata) == []
            held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
            tables = " AND relation = 'public.things'::regclass"
            assert connection.scalar(text(held + tables)) == 0

        await run(blank, check)
    assert row_security_of(metadata).policies
