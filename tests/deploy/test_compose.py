"""The compose files, which no engine runs on the development machines: held by checks instead."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bedplate.errors import ProductionRefusedError
from bedplate.project import Project
from bedplate.settings import Settings
from bedplate.urls import DatabaseUrl
from systems.librilabs.settings import LibriLabsSettings
from systems.pdf_translator.settings import GoogleSettings, PdfTranslatorSettings
from tests.deploy.compose import DEPLOY, LIBRILABS, ComposeFile, findings
from tests.texts import ROOT

DOCUMENTED_URL = "postgresql+asyncpg://librilabs:librilabs_dev@postgres:5432/librilabs_translator"
FILES = pytest.mark.parametrize("path", [LIBRILABS, DEPLOY], ids=["librilabs", "deploy"])

# What a hand may do to the file, and what is said then.
MISTAKES = [
    ("  migrate:\n    <<", "  migration:\n    <<", "depends on migrate, which is not defined"),
    ("  postgres:\n  redis:\n", "  redis:\n", "volume postgres is not defined"),
    ("deploy/postgres:", "deploy/postgre:", "which is not there"),
    ("dockerfile: deploy/Dockerfile", "dockerfile: Dockerfile", "is built from Dockerfile"),
    ("    user: postgres\n", "", "postgres: runs as root"),
    ("user: valkey", "user: '0'", "redis: runs as root"),
    ("pgvector:pg16", "pgvector:latest", "names no version"),
    ("127.0.0.1:${REDIS_PORT", "${REDIS_PORT", "is open to the network"),
    ("${REDIS_PORT:-6379}", "${VALKEY_PORT:-6379}", "VALKEY_PORT is not in .env.example"),
    ("${REDIS_PORT:-6379}", "${REDIS_PORT}", "REDIS_PORT has no default"),
    ("    healthcheck: *reach\n", "", "worker: has no health check"),
    ('    restart: "no"\n', "    restart: always\n", "which is restarted"),
]


@FILES
def test_L1_compose_files_fit_the_schema(path: Path) -> None:
    """A misspelt key is refused by the engine, or worse, taken for nothing."""
    checked = _validate(path)
    assert checked.returncode == 0, checked.stdout


def test_the_schema_refuses_a_misspelt_key(tmp_path: Path) -> None:
    """A check that accepts anything proves nothing."""
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(LIBRILABS.read_text().replace("healthcheck:", "health_check:", 1))
    assert _validate(wrong).returncode == 1


@FILES
def test_L1_compose_files_refer_to_what_is_there(path: Path) -> None:
    """Services, volumes, files, variables, versions; nobody is root, nothing leaves loopback."""
    assert findings(ComposeFile.read(path)) == []


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES)
def test_a_wrong_reference_is_found(right: str, wrong: str, said: str) -> None:
    """Each mistake that the check is for, made once."""
    text = LIBRILABS.read_text()
    assert right in text
    found = findings(ComposeFile(LIBRILABS.parent, text.replace(right, wrong)))
    assert any(said in line for line in found), found


def test_L1_compose_database_is_as_specified() -> None:
    """Service `postgres` on port 5432, with a health check and a volume."""
    postgres = ComposeFile.read(LIBRILABS).services["postgres"]
    assert postgres["image"] == "pgvector/pgvector:pg16"
    assert postgres["ports"] == ["127.0.0.1:5432:5432"]
    assert "librilabs_translator" in postgres["healthcheck"]["test"]
    assert "postgres:/var/lib/postgresql/data" in postgres["volumes"]
    assert postgres["environment"]["BEDPLATE_DATABASES"].split() == [
        "librilabs_translator",
        "librilabs",
        "librilabs_dev",
    ]


@FILES
def test_L1_compose_starts_in_order(path: Path) -> None:
    """Nothing of ours starts before its servers answer and the schema is there."""
    services = ComposeFile.read(path).services
    assert {*services} == {"postgres", "redis", "s3", "migrate", "api", "relay", "worker"}
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "relay", "worker"):
        assert services[name]["depends_on"] == {
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
            "s3": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }


def test_L1_compose_processes_are_those_of_the_embedded_stand() -> None:
    """One way to start each, so that what was tried on a laptop is what runs in the container."""
    source = (ROOT / "src" / "bedplate" / "cli" / "everything.py").read_text()
    embedded = set(re.findall(r'ChildSpec\("\w+", \("(\w+)"', source))
    for path in (LIBRILABS, DEPLOY):
        composed = {name: each["command"] for name, each in ComposeFile.read(path).built().items()}
        assert composed.pop("migrate") == ["bedplate", "migrate", "--yes"]
        assert {command[0] for command in composed.values()} == {"bedplate"}
        assert {command[1] for command in composed.values()} == embedded


def test_L1_compose_files_run_the_same() -> None:
    """What is shown for librilabs' file holds for the file of all systems."""
    shown = ComposeFile.read(LIBRILABS).services
    for name, service in ComposeFile.read(DEPLOY).services.items():
        for key in ("command", "healthcheck", "image", "user", "depends_on"):
            assert service.get(key) == shown[name].get(key), f"{name}: {key}"


def test_deploy_has_a_database_for_every_system(project: Project) -> None:
    """A system that is added to the project must be added there."""
    file = ComposeFile.read(DEPLOY)
    declared = file.services["postgres"]["environment"]["BEDPLATE_DATABASES"].splitlines()
    assert [line.split() for line in declared] == [
        [entry.database, entry.owner, entry.development_password] for entry in project.systems
    ]
    for entry in project.systems:
        url = DatabaseUrl.parse(file.services["api"]["environment"][entry.variable])
        assert (url.user, url.password, url.database) == (
            entry.owner,
            entry.development_password,
            entry.database,
        )


def test_L7_compose_connection_string_is_the_documented_one() -> None:
    """One string in the compose file, `.env.example` and the README, taken as it is."""
    variables = ComposeFile.read(LIBRILABS).services["api"]["environment"]
    assert variables["DATABASE_URL"] == DOCUMENTED_URL
    for name in (".env.example", "README.md"):
        assert DOCUMENTED_URL in (LIBRILABS.parent / name).read_text(), name
    url = Settings.load("librilabs", variables).database()
    assert (url.user, url.password, url.host, url.port, url.database) == (
        "librilabs",
        "librilabs_dev",
        "postgres",
        5432,
        "librilabs_translator",
    )


@FILES
def test_L7_compose_gives_only_variables_that_are_read(path: Path, project: Project) -> None:
    """A misspelt variable would leave the default in force without a word."""
    known = {str(field.alias) for field in Settings.model_fields.values()}
    known |= LibriLabsSettings.variables()
    if path == DEPLOY:
        known |= PdfTranslatorSettings.variables() | GoogleSettings.variables()
    known |= {entry.variable for entry in project.systems} | {"BEDPLATE_SYSTEMS"}
    for name, service in ComposeFile.read(path).built().items():
        assert {*service["environment"]} <= known, name


def test_compose_credentials_are_refused_in_production() -> None:
    """The file is one variable away from somebody's server."""
    variables = ComposeFile.read(LIBRILABS).services["api"]["environment"]
    with pytest.raises(ProductionRefusedError):
        Settings.load("librilabs", variables | {"BEDPLATE_ENV": "production"})


def _validate(path: Path) -> "subprocess.CompletedProcess[str]":
    tool = Path(sys.executable).parent / "check-jsonschema"
    return subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", path],
        capture_output=True,
        text=True,
        check=False,
    )
