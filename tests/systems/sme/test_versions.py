"""The versions that sme needs, as the doctor sees them."""

from bedplate.doctor.versions import read_versions
from bedplate.rows.database import Database
from bedplate.system import System
from bedplate.testing.clones import ScratchDatabase


async def test_S7_the_doctor_checks_postgresql_and_pgvector(
    committed: ScratchDatabase, bedplate_system: System
) -> None:
    """PostgreSQL 16 and pgvector 0.8 at least: the iterative scan came with it."""
    found = await read_versions(Database(committed.url), bedplate_system.extensions)

    assert [(each.what, each.needed) for each in found] == [("PostgreSQL", "16"), ("vector", "0.8")]
    assert all(each.is_met for each in found)


async def test_S7_a_version_that_is_too_old_or_missing_is_said(
    committed: ScratchDatabase,
) -> None:
    """With what to do."""
    wanted = {"vector": "99.0", "no_such_extension": "1"}
    found = await read_versions(Database(committed.url), wanted)

    _, too_old, missing = found
    assert not too_old.is_met
    assert too_old.found is not None
    assert "99.0 or later" in too_old.hint
    assert (missing.is_met, missing.found) == (False, None)
    assert "Install it" in missing.hint
