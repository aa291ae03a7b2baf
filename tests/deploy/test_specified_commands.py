"""The commands that librilabs' specification names, typed in its folder, one after the other.

On an embedded stack of the test's own; only the port differs from what is specified. Those that
need a Docker engine are held against the compose file by `test_librilabs_readme.py`; a revision is
written by `tests/systems/librilabs/test_migrations.py`, which does so in a copy.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.session import OURS
from tests.docs.terminal import Terminal
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "librilabs"
# `$PGPORT` is what the specification has as 5432.
PSQL = "psql -h localhost -p $PGPORT -U librilabs -d librilabs_translator"
DUMP = "pg_dump -h localhost -p $PGPORT -U librilabs -d librilabs_translator"
# A superuser's comment and a newer server's settings are no part of what is restored.
COUNT = f'{PSQL} -At -c "SELECT count(*) FROM documents"'


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """In librilabs' folder, on a stack of its own."""
    kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    # A make that runs this test must not hand its own flags down.
    kept = {name: value for name, value in kept.items() if not name.startswith("MAKE")}
    tools = Path(sys.executable).parent
    variables = kept | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "BEDPLATE_STATE_DIR": str(tmp_path / "state"),
        "CI": "1",
        "PYTHONWARNINGS": "default",
        "DUMP": str(tmp_path / "backup.sql"),
    }
    with Terminal(FOLDER, variables) as terminal:
        yield terminal
        terminal.type("bedplate -n restored down; bedplate down")


def is_made_by_make() -> bool:
    """Whether `make` would use this environment as it is, and install nothing."""
    asked = ["make", "-q", ".venv/run.stamp"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_L23_make_up_migrate_and_seed_run_as_written(terminal: Terminal) -> None:
    """What a newcomer to librilabs types first."""
    if not is_made_by_make():
        pytest.skip("this environment was not made by make, which would install into it")
    terminal.type("make up")
    terminal.type("make migrate")
    terminal.type("make seed")
    terminal.type("make status")
    terminal.type("make down")


def test_L23_alembic_psql_dump_and_restore_run_as_written(terminal: Terminal) -> None:
    """Migrated by plain Alembic, seeded, dumped, restored into another server, and the same."""
    terminal.type("bedplate up -d")
    terminal.type('eval "$(bedplate env librilabs)"')
    for words in ("--version", "current", "upgrade head", "downgrade -1", "upgrade head"):
        terminal.type(f"alembic {words}")
    terminal.type("bedplate seed")
    terminal.type(f'{PSQL} -c "\\dt" | grep -w documents', "…documents…")
    terminal.type(COUNT, "2")
    terminal.type("bedplate redis-cli ping", "PONG")
    terminal.type(f'{DUMP} > "$DUMP"')
    terminal.type("bedplate -n restored up -d")
    terminal.type("unset ${!LIBRILABS_*} ${!PG*} DATABASE_URL REDIS_URL")
    terminal.type('eval "$(bedplate -n restored env librilabs)"')
    terminal.type(f'{PSQL} < "$DUMP"')
    terminal.type(COUNT, "2")
    terminal.type("alembic current 2>/dev/null", "… (head)")
    terminal.type("alembic downgrade base")
