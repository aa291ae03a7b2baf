"""live_agent's README, variables and compose file, held against what they name."""

import re
import shlex
import subprocess
import sys
from datetime import timedelta

import pytest

from bedplate.cli.catalog import COMMANDS
from bedplate.errors import ProductionRefusedError
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.urls import DatabaseUrl
from systems.live_agent.settings import LiveAgentSettings
from tests.deploy.compose import LIBRILABS, ComposeFile, findings
from tests.systems.example_file import assert_embedded, assert_every_variable, example_lines
from tests.systems.live_agent.schema_summary import README, in_readme
from tests.texts import ROOT

FOLDER = ROOT / "systems" / "live_agent"
COMPOSE = FOLDER / "docker-compose.yml"
TEXT = README.read_text()
URL = (
    "postgresql+asyncpg://liveinteractiveagent:vibecoding123@localhost:5432/liveinteractiveagentdb"
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def section(title: str) -> str:
    """What stands under a heading."""
    return re.split(rf"^## {re.escape(title)}\n", TEXT, flags=re.MULTILINE)[1].split("\n## ")[0]


def commands() -> list[list[str]]:
    """Every command of a block, without comments and variables set before it."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


def test_A14_the_page_has_what_is_asked_for() -> None:
    """Credentials, migrations, seeding, connecting, the schema, backup and restore."""
    credentials = section("Credentials for local development")
    for word in (
        "`localhost:5432`",
        "`liveinteractiveagent`",
        "`vibecoding123`",
        "`liveinteractiveagentdb`",
        f"`{URL}`",
        "`localhost:6379`, no authentication",
        "`admin@test.com`",
        "`password123`",
    ):
        assert word in credentials, word
    migrations = section("Migrations")
    for line in ("alembic upgrade head", "alembic revision --autogenerate -m", "alembic downgrade"):
        assert line in migrations
    for line in ("psql -h localhost -p 5432", "redis-cli", "get_redis_client"):
        assert line in section("Connect by hand")
    assert "python -m systems.live_agent.seeds" in section("Seed")
    backup = section("Back up and restore")
    user = "-h localhost -p 5432 -U liveinteractiveagent liveinteractiveagentdb"
    assert f"pg_dump {user} > backup.sql\npsql {user} < backup.sql\n" in backup


def test_A14_every_command_of_the_page_exists() -> None:
    """A page that names what is not there costs a newcomer an hour."""
    words = commands()
    assert len(words) > 15
    clients = {"psql", "pg_dump", "redis-cli", "curl", "python", "alembic"}
    for line in words:
        if line[0] == "make":
            assert line[1] in TARGETS, line
        elif line[0] == "bedplate":
            assert line[1] in COMMANDS, line
        else:
            assert line[0].rpartition("$(")[2] in clients, line
    for path in re.findall(r"\]\((\.\./[^)#]+)\)", TEXT):
        assert (FOLDER / path).exists(), path
    for name in re.findall(r"<!-- run by: (\S+) -->", TEXT):
        assert (ROOT / name).is_file(), name


def test_A14_the_schemas_summary_is_the_metadatas() -> None:
    """Each table's columns, relationships and purpose, as the models have them."""
    assert in_readme(TEXT) == TEXT, "python -m tests.systems.live_agent.schema_summary"
    summary = section("The schema")
    for table in ("organizations", "users", "sessions"):
        assert f"**`{table}`**: " in summary
    assert "| `email` | varchar(320) | unique |" in summary
    assert "- relationship `organization`: one `Organization`" in summary


def test_every_test_of_the_table_is_there() -> None:
    """A clause whose test was renamed is a clause without one."""
    folder = ROOT / "tests" / "systems" / "live_agent"
    source = "\n".join(path.read_text() for path in folder.glob("*.py"))
    named = re.findall(r"`(test_A\d+_\w+)`", section("The specification, clause by clause"))
    assert [name for name in named if f"def {name}(" not in source] == []
    clauses = {int(name.split("_")[1][1:]) for name in named}
    assert clauses >= set(range(1, 19))


def test_the_example_holds_every_variable_with_a_comment() -> None:
    """What is not in `.env.example` does not exist for whoever deploys it."""
    assert_every_variable("live_agent", LiveAgentSettings.variables())
    settings, _ = assert_embedded("live_agent")
    assert settings.lease == timedelta(seconds=15)
    assert f"# DATABASE_URL={URL}" in example_lines("live_agent")


def test_the_compose_file_fits_the_schema_and_refers_to_what_is_there() -> None:
    """No engine has run it: its form by the specification of compose, the rest by rules."""
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*tool, COMPOSE], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    file = ComposeFile.read(COMPOSE)
    assert findings(file) == []
    shown = ComposeFile.read(LIBRILABS).services
    assert file.services.keys() == shown.keys()
    for name, service in file.services.items():
        for key in ("command", "image", "user", "depends_on"):
            assert service.get(key) == shown[name].get(key), f"{name}: {key}"


def test_the_compose_file_has_the_specified_credentials(bedplate_project: Project) -> None:
    """One string in the compose file and `.env.example`, refused in production."""
    file = ComposeFile.read(COMPOSE)
    entry = bedplate_project.entry("live_agent")
    given = file.services["postgres"]["environment"]["BEDPLATE_DATABASES"].split()
    assert given == [entry.database, entry.owner, entry.development_password]
    assert given == ["liveinteractiveagentdb", "liveinteractiveagent", "vibecoding123"]
    variables = file.services["api"]["environment"]
    assert (
        DatabaseUrl.parse(variables["DATABASE_URL"]).render()
        == DatabaseUrl.parse(URL.replace("localhost", "postgres")).render()
    )
    assert variables["DATABASE_URL"] in (FOLDER / ".env.example").read_text()
    known = {str(field.alias) for field in Settings.model_fields.values()} | {"BEDPLATE_SYSTEMS"}
    assert set(variables) <= known | LiveAgentSettings.variables()
    with pytest.raises(ProductionRefusedError):
        Settings.load("live_agent", variables | {"BEDPLATE_ENV": "production"})


def test_cheap_hashes_are_refused_in_production() -> None:
    """What tests use must not be left in a deployment's variables."""
    with pytest.raises(ProductionRefusedError, match="LIVE_AGENT_BCRYPT_ROUNDS"):
        LiveAgentSettings(bcrypt_rounds=4).check_production()
    LiveAgentSettings(bcrypt_rounds=10).check_production()
