"""The commands that the specifications name, typed in each system's folder, one after the other.

On an embedded stack of the tests' own; only the port differs from what is specified. Those that
need a Docker engine are held against the compose files; a revision is written by each system's
`test_migrations.py`, which does so in a copy.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.session import OURS
from tests.docs.terminal import Terminal
from tests.texts import ROOT


@dataclass(frozen=True)
class Specified:
    """What a specification calls its own, and a table that is seeded."""

    system: str
    user: str
    database: str
    table: str
    # As the specification of live_agent has it, the database may come last, without a flag.
    named_by: str = "-d "

    def client(self, program: str) -> str:
        """A client program with its arguments; `$PGPORT` is what is specified as 5432."""
        return f"{program} -h localhost -p $PGPORT -U {self.user} {self.named_by}{self.database}"


SYSTEMS = (
    Specified("librilabs", "librilabs", "librilabs_translator", "documents"),
    Specified("pdf_translator", "pdf_translator", "pdf_translator", "glossary"),
    Specified("live_agent", "liveinteractiveagent", "liveinteractiveagentdb", "users", ""),
    Specified("sme", "sme", "sme", "evidence"),
)
EACH = pytest.mark.parametrize("specified", SYSTEMS, ids=lambda each: each.system)


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Two stacks beside each other, the usual one and `restored`, for all of these tests."""
    folder = tmp_path_factory.mktemp("specified")
    kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    # A make that runs this test must not hand its own flags down.
    kept = {name: value for name, value in kept.items() if not name.startswith("MAKE")}
    found = kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BEDPLATE_STATE_DIR": str(folder / "state"),
        "CI": "1",
        "PYTHONWARNINGS": "default",
    }
    with Terminal(ROOT, found) as terminal:
        terminal.type("bedplate up -d && bedplate -n restored up -d")
        yield found
        terminal.type("bedplate -n restored down; bedplate down")


def in_folder(specified: Specified, variables: dict[str, str], tmp_path: Path) -> Terminal:
    """A terminal in the system's folder; `$DUMP` is specified as backup.sql."""
    folder = ROOT / "systems" / specified.system
    return Terminal(folder, variables | {"DUMP": str(tmp_path / "backup.sql")})


def is_made_by_make() -> bool:
    """Whether `make` would use this environment as it is, and install nothing."""
    asked = ["make", "-q", ".venv/run.stamp"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


@EACH
def test_L23_make_up_migrate_and_seed_run_as_written(
    specified: Specified, variables: dict[str, str], tmp_path: Path
) -> None:
    """What a newcomer to a system types first."""
    if not is_made_by_make():
        pytest.skip("this environment was not made by make, which would install into it")
    with in_folder(specified, variables, tmp_path) as terminal:
        for target in ("up", "migrate", "seed", "status"):
            terminal.type(f"make {target}")


@EACH
def test_L23_A15_alembic_psql_dump_and_restore_run_as_written(
    specified: Specified, variables: dict[str, str], tmp_path: Path
) -> None:
    """Migrated by plain Alembic, seeded, dumped, restored into another server, and the same."""
    psql, pg_dump = specified.client("psql"), specified.client("pg_dump")
    rows = f'{psql} -At -c "SELECT count(*) FROM {specified.table}"'
    with in_folder(specified, variables, tmp_path) as terminal:
        terminal.type(f'eval "$(bedplate env {specified.system})"')
        for words in ("upgrade head", "downgrade base"):
            terminal.type(f"alembic {words}")
        for words in ("--version", "current", "upgrade head", "downgrade -1", "upgrade head"):
            terminal.type(f"alembic {words}")
        terminal.type(f"BEDPLATE_SYSTEMS={specified.system} bedplate seed")
        terminal.type(f'{psql} -c "\\dt" | grep -w {specified.table}', f"…{specified.table}…")
        terminal.type(f'{psql} -c "\\dt" | grep -w alembic_version', "…alembic_version…")
        terminal.type(f"ROWS=$({rows})")
        terminal.type("bedplate redis-cli ping", "PONG")
        # A superuser's comment and a newer server's settings are no part of what is restored.
        terminal.type(f'{pg_dump} > "$DUMP"')
        assert f"COPY public.{specified.table} " in (tmp_path / "backup.sql").read_text()
        terminal.type("unset ${!LIBRILABS_*} ${!PDF_TRANSLATOR_*} ${!LIVE_AGENT_*} ${!SME_*}")
        terminal.type("unset ${!PG*} DATABASE_URL REDIS_URL")
        terminal.type(f'eval "$(bedplate -n restored env {specified.system})"')
        terminal.type(f'{psql} < "$DUMP"')
        terminal.type(f'test "$ROWS" = "$({rows})"')
        terminal.type("alembic current 2>/dev/null", "… (head)")
        terminal.type("alembic downgrade base")


def test_A13_the_seed_script_runs_as_written(variables: dict[str, str], tmp_path: Path) -> None:
    """By its module, from the project's root: what was made, and then that nothing was."""
    live_agent = SYSTEMS[2]
    with in_folder(live_agent, variables, tmp_path) as terminal:
        terminal.type(f'cd {ROOT} && eval "$(bedplate env)"')
        terminal.type("BEDPLATE_SYSTEMS=live_agent bedplate migrate")
        terminal.type("python -m systems.live_agent.seeds")
        terminal.type(
            "python -m systems.live_agent.seeds 2>&1 | grep -c skipped",
            "2",
        )


def test_S2_the_extension_is_asked_for_as_written(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """`SELECT * FROM pg_extension WHERE extname = 'vector'` returns a row."""
    sme = SYSTEMS[3]
    asked = "SELECT extname FROM pg_extension WHERE extname = 'vector'"
    with in_folder(sme, variables, tmp_path) as terminal:
        terminal.type('eval "$(bedplate env sme)"')
        terminal.type("alembic upgrade head")
        terminal.type(f'{sme.client("psql")} -At -c "{asked}"', "vector")
