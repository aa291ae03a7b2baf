"""The commands that live_agent's specification names, typed in its folder, one after the other.

On an embedded stack of the test's own; only the port differs from what is specified.
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

FOLDER = ROOT / "systems" / "live_agent"
# `$PGPORT` is what the specification has as 5432.
DATABASE = "-h localhost -p $PGPORT -U liveinteractiveagent liveinteractiveagentdb"
PSQL = "psql -h localhost -p $PGPORT -U liveinteractiveagent -d liveinteractiveagentdb"
ROWS = """
SELECT 'organizations', o::text FROM organizations o
UNION ALL SELECT 'users', u::text FROM users u
UNION ALL SELECT 'sessions', s::text FROM sessions s
UNION ALL SELECT 'policy', tablename || policyname || qual FROM pg_policies
UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', proname || proacl::text FROM pg_proc WHERE prosecdef
ORDER BY 1, 2
"""
ROOM = "INSERT INTO sessions (organization_id, room_name) SELECT id, 'room' FROM organizations"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """In live_agent's folder, on a stack of its own."""
    kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    # A make that runs this test must not hand its own flags down.
    kept = {name: value for name, value in kept.items() if not name.startswith("MAKE")}
    (tmp_path / "rows.sql").write_text(ROWS)
    variables = kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BEDPLATE_STATE_DIR": str(tmp_path / "state"),
        "BEDPLATE_SYSTEMS": "live_agent",
        "CI": "1",
        "PYTHONWARNINGS": "default",
        "FOLDER": str(tmp_path),
        "LIVE_AGENT_BCRYPT_ROUNDS": "4",
    }
    with Terminal(FOLDER, variables) as terminal:
        yield terminal
        # `env` of the second one has named its folder, too.
        terminal.type("export BEDPLATE_STATE_DIR=$FOLDER/state")
        terminal.type("bedplate -n restored down; bedplate down")


def is_made_by_make() -> bool:
    """Whether `make` would use this environment as it is, and install nothing."""
    asked = ["make", "-q", ".venv/run.stamp"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_A14_a_newcomer_gets_to_a_seeded_database(terminal: Terminal) -> None:
    """The page's first commands; by `bedplate` where make would install into this environment."""
    first = ("up", "migrate", "seed", "down")
    for word in first:
        assert f"\nmake {word}" in (FOLDER / "README.md").read_text()
    if is_made_by_make():
        lines = [f"make {word}" for word in first]
    else:
        lines = ["bedplate up -d", "bedplate migrate", "bedplate seed", "bedplate down"]
    for line in lines[:-1]:
        terminal.type(line)
    terminal.type('eval "$(bedplate env live_agent)"')
    asked = "SELECT email, role, name FROM users JOIN organizations o ON o.id = organization_id"
    terminal.type(f'{PSQL} -Atc "{asked}"', "admin@test.com|admin|Test Organization")
    terminal.type(lines[-1])


def test_A10_dt_lists_the_tables(terminal: Terminal) -> None:
    """After the initial migration these four, and nothing of the layer's."""
    terminal.type("bedplate up -d")
    terminal.type('eval "$(bedplate env live_agent)"')
    terminal.type("alembic --version", "alembic …")
    terminal.type("alembic current 2>/dev/null")
    terminal.type("alembic upgrade 0001")
    dt = f'{PSQL} -At -c "\\dt" | cut -d "|" -f 2 | sort | xargs'
    terminal.type(dt, "alembic_version organizations sessions users")
    terminal.type("alembic current 2>/dev/null", "0001…")
    terminal.type("alembic upgrade head")
    terminal.type("alembic downgrade -1")
    terminal.type("alembic downgrade base")
    terminal.type(dt, "alembic_version")
    terminal.type("alembic upgrade head")
    terminal.type("bedplate redis-cli ping", "PONG")


def test_A15_dump_and_restore_run_as_written_and_give_the_same_rows(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Into an empty database of another server: rows, policies, triggers, and who may call what."""
    terminal.type("bedplate up -d")
    terminal.type('eval "$(bedplate env live_agent)"')
    terminal.type("alembic upgrade head")
    terminal.type("python -m systems.live_agent.seeds")
    terminal.type(f'{PSQL} -c "{ROOM}"', "INSERT 0 1")
    rows = f"{PSQL} -At -f $FOLDER/rows.sql"
    terminal.type(f"{rows} > $FOLDER/before.txt && wc -l < $FOLDER/before.txt", "…")
    terminal.type(f"pg_dump {DATABASE} > $FOLDER/backup.sql")
    terminal.type("bedplate -n restored up -d")
    terminal.type("unset ${!LIVE_AGENT_DATABASE*} ${!PG*} DATABASE_URL REDIS_URL")
    terminal.type('eval "$(bedplate -n restored env live_agent)"')
    terminal.type(f'{PSQL} -At -c "\\dt"', "Did not find any tables.")
    terminal.type(f"psql {DATABASE} < $FOLDER/backup.sql")
    terminal.type(f"{rows} > $FOLDER/after.txt")
    terminal.type("diff $FOLDER/before.txt $FOLDER/after.txt && echo same", "same")
    restored = (tmp_path / "after.txt").read_text()
    for row in ("admin@test.com", "Test Organization", "room", "policy|users", "find_login"):
        assert row in restored, row
    terminal.type("alembic current 2>/dev/null", "… (head)")
    terminal.type("alembic check 2>/dev/null", "No new upgrade operations detected.")
