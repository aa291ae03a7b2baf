"""All systems: each is tried with two owners or has none, and none is served as an owner."""

import pytest
from sqlalchemy import text

from bedplate.layer import DataLayer
from bedplate.project import Project
from tests.systems.tenancy.owners import OWNERS

# One store for whoever may use it: its rows belong to nobody.
WITHOUT_OWNERS = {"sme"}

SERVING_ROLE = text("""
SELECT current_user = session_user AS is_owner, r.rolsuper, r.rolbypassrls, r.rolcreaterole,
       (SELECT count(*) FROM pg_class c WHERE c.relowner = r.oid) AS owned,
       pg_has_role(r.oid, d.datdba, 'MEMBER') AS is_of_owner
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database()
""")


@pytest.fixture(params=sorted({*OWNERS, *WITHOUT_OWNERS}))
def bedplate_system_name(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


def test_every_system_is_tried_or_has_no_owners(project: Project) -> None:
    """A new one is to say in owners.py what two owners of it have."""
    assert {entry.name for entry in project.systems} == {*OWNERS, *WITHOUT_OWNERS}


async def test_the_serving_role_is_neither_owner_nor_superuser(layer: DataLayer) -> None:
    """Else no policy would bind it; nor may it become the owner, who may do all."""
    async with layer.reading() as session:
        row = (await session.execute(SERVING_ROLE)).one()
    assert not any(row[1:]), row
